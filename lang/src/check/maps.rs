//! The maps of a script: what is declared of them, and the types that their uses give them.

use super::{Checker, convert};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::source::Span;
use crate::typed::MapId;
use crate::types::Type;
use rtrace_grammar::ast;

/// A map while its type is being found out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MapInfo {
    /// Without the `@`.
    pub name: String,
    /// `None` until the first use; `Some(None)` for a keyless map.
    pub key: Option<Option<Type>>,
    pub value: Option<Type>,
    /// Something is assigned to it, whatever its type.
    pub assigned: bool,
    /// Its value is asked for somewhere.
    pub read: bool,
    /// Something in the script names it, other than its declaration.
    pub used: bool,
    /// Without a key, and asked whether it has a value.
    pub asked: bool,
    /// Nothing is assigned to it, and what is read of it is zero.
    pub unset: bool,
    /// First use, for messages.
    pub span: Span,
    pub max_entries: Option<u32>,
    /// Evicts the least recently used entry when full.
    pub lru: bool,
}

impl Checker<'_> {
    pub(super) fn declare_map(&mut self, decl: &ast::MapDecl) {
        const KINDS: [&str; 4] = ["hash", "lruhash", "percpuhash", "percpulruhash"];
        if !KINDS.contains(&decl.kind.text.as_str()) {
            let message = format!("unknown map type `{}`", decl.kind.text);
            self.errors.push(
                *Diagnostic::error(Code::BadMapUse, decl.kind.span, message)
                    .note(format!("map types: {}", KINDS.join(", "))),
            );
        }
        match self.constant(&decl.size, "the size of a map") {
            Ok(_) if self.map_ids.contains_key(&decl.name.text) => {
                let first = self.maps.iter().find(|m| m.name == decl.name.text).map_or(decl.span, |m| m.span);
                let message = format!("`@{}` is declared twice", decl.name.text);
                self.errors
                    .push(*Diagnostic::error(Code::BadMapUse, decl.span, message).also(first, "first declared here"));
            }
            Ok(n) if (1..=1 << 30).contains(&n) => {
                let id = self.known_map(&decl.name.text, decl.span);
                if let Some(m) = self.maps.get_mut(id as usize) {
                    m.max_entries = Some(n as u32);
                    m.lru = decl.kind.text.contains("lru");
                }
            }
            Ok(n) => {
                self.errors.push(*Diagnostic::error(Code::BadValue, decl.size.span, format!("invalid map size: {n}")))
            }
            Err(e) => self.errors.push(*e),
        }
    }

    /// The id of a map by name, made at first use.
    pub(crate) fn map_id(&mut self, name: &str, span: Span) -> MapId {
        let id = self.known_map(name, span);
        if let Some(m) = self.maps.get_mut(id as usize) {
            m.used = true;
        }
        id
    }

    fn known_map(&mut self, name: &str, span: Span) -> MapId {
        if let Some(id) = self.map_ids.get(name) {
            return *id;
        }
        let id = self.maps.len() as MapId;
        self.maps.push(MapInfo {
            name: name.to_owned(),
            key: None,
            value: None,
            assigned: false,
            read: false,
            used: false,
            asked: false,
            unset: false,
            span,
            max_entries: None,
            lru: false,
        });
        self.map_ids.insert(name.to_owned(), id);
        self.changed = true;
        id
    }

    /// Says which maps are declared and not used, and which are used and nothing is ever assigned to.
    pub(super) fn without_values(&mut self, errors: &mut Vec<Diagnostic>) {
        let mut unused = Vec::new();
        let known = !errors.is_empty();
        for map in self.maps.iter().filter(|m| m.value.is_none() && !known) {
            if map.used {
                errors.push(
                    *Diagnostic::error(Code::Unset, map.span, format!("`@{}` is never assigned", map.name))
                        .help("assign to it in some probe, or remove this use"),
                );
            } else {
                let message = format!("`@{}` is declared but never used", map.name);
                unused.push(Diagnostic::warning(Code::Unset, map.span, message).help("remove the declaration"));
            }
        }
        unused.into_iter().for_each(|w| self.warn(w));
    }

    pub(crate) fn map(&self, id: MapId) -> Result<&MapInfo> {
        self.maps.get(id as usize).ok_or_else(|| Diagnostic::internal(Span::default(), "a map without a number"))
    }

    /// Widens a map's key by a use, or says why it cannot be used so.
    pub(crate) fn use_key(&mut self, id: MapId, key: Option<&Type>, span: Span) -> Result<()> {
        let map = self.map(id)?.clone();
        let new = match (&map.key, key) {
            (None, k) => k.map(convert::kept),
            (Some(None), None) => None,
            (Some(Some(old)), Some(k)) => {
                let wide = convert::unify(old, &convert::kept(k)).ok_or_else(|| {
                    Diagnostic::error(
                        Code::BadMapUse,
                        span,
                        format!("the key of `@{}` has type `{old}`, but here it has type `{k}`", map.name),
                    )
                    .label(format!("this has type `{k}`"))
                    .also(map.span, "first used here")
                })?;
                Some(wide)
            }
            (Some(None), Some(_)) => return Err(with_and_without_key(&map, span, "with", "without")),
            (Some(Some(_)), None) => return Err(with_and_without_key(&map, span, "without", "with")),
        };
        let new = Some(new);
        if let Some(m) = self.maps.get_mut(id as usize)
            && m.key != new
        {
            m.key = new;
            self.changed = true;
        }
        Ok(())
    }

    /// Widens a map's value by an assignment.
    pub(crate) fn use_value(&mut self, id: MapId, value: &Type, span: Span) -> Result<()> {
        let map = self.map(id)?.clone();
        let new = convert::kept(value);
        let new = match &map.value {
            None => new,
            Some(old) => convert::unify(old, &new).ok_or_else(|| {
                convert::mismatch(span, &format!("`@{}`", map.name), old, value).also(map.span, "first used here")
            })?,
        };
        if let Some(m) = self.maps.get_mut(id as usize)
            && m.value.as_ref() != Some(&new)
        {
            m.value = Some(new);
            self.changed = true;
        }
        Ok(())
    }
}

/// A map is used one way here, and another way where it was first used.
fn with_and_without_key(map: &MapInfo, span: Span, here: &str, there: &str) -> Box<Diagnostic> {
    Diagnostic::error(Code::BadMapUse, span, format!("`@{}` is used with and without a key", map.name))
        .label(format!("{here} a key here"))
        .also(map.span, format!("{there} a key here"))
        .help("rename one of the maps")
}
