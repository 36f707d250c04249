//! The type names that the syntax must know.
//!
//! `(x)(y)` and `(x)-y` are casts if `x` is a type, and only a name can tell. C compilers know
//! every typedef by then; a tracing script takes its types from the kernel, later. So a name
//! counts as a type here if it is in [`COMMON`] or ends in `_t`. The surroundings decide about
//! every other name (see `scan`): `(x *)` is always a type, `(x)$y` always a cast. What is left
//! over, such as `(my_type)-1`, can be written `(typeof(my_type))-1`.

/// Names that are types wherever they stand alone in parentheses.
const COMMON: &[&str] = &[
    "_Bool", "__be16", "__be32", "__be64", "__le16", "__le32", "__le64", "__s16", "__s32", "__s64", "__s8", "__sum16",
    "__u16", "__u32", "__u64", "__u8", "__wsum", "be16", "be32", "be64", "bool", "buffer", "inet", "int16", "int32",
    "int64", "int8", "le16", "le32", "le64", "s16", "s32", "s64", "s8", "string", "u16", "u32", "u64", "u8", "u_char",
    "u_int", "u_long", "u_short", "uint", "uint16", "uint32", "uint64", "uint8", "ulong", "unchar", "ushort",
];

/// Is this name, alone in parentheses, a type?
pub fn is_type_name(name: &str) -> bool {
    name.len() > 2 && name.ends_with("_t") || COMMON.binary_search(&name).is_ok()
}

/// The words that C types are put together from.
pub(crate) fn is_c_word(word: &str) -> bool {
    matches!(word, "void" | "char" | "short" | "int" | "long" | "float" | "double" | "signed" | "unsigned" | "__int128")
}

/// Words in a C type that change nothing here: qualifiers and the kernel's annotations.
pub(crate) fn is_qualifier(word: &str) -> bool {
    matches!(
        word,
        "const"
            | "volatile"
            | "restrict"
            | "__restrict"
            | "__const"
            | "__volatile__"
            | "__extension__"
            | "__user"
            | "__kernel"
            | "__rcu"
            | "__iomem"
            | "__percpu"
            | "__force"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(COMMON.is_sorted());
        assert!(is_type_name("u8") && is_type_name("pid_t") && is_type_name("string"));
        assert!(!is_type_name("_t") && !is_type_name("pid"));
    }
}
