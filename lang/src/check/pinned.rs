//! The output of pinned iterators: the file can be read after rtrace has exited, so the kernel formats, whose printf
//! knows less (`bpf_seq_printf`).

use crate::bundle::{Action, Conversion, FormatSpec, Stream};
use crate::codes::Code;
use crate::diag::Diagnostic;
use crate::source::Span;
use crate::types::Type;

/// The error for an action that is not supported there.
pub(super) fn refuse(action: &Action, fields: &[Type], span: Span) -> Option<Box<Diagnostic>> {
    let error = |text: String| {
        Some(
            Diagnostic::error(Code::NotAllowedHere, span, text)
                .note("the pinned file can be read after rtrace has exited, so the kernel formats the output"),
        )
    };
    match action {
        Action::Printf { format, stream: Stream::Out | Stream::Join } => {
            if let Some(spec) = format.specs().find(|s| !formats(s)) {
                return error(format!("{} is not supported in a pinned iterator", spec.name()));
            }
        }
        Action::PrintValue => {}
        _ => return error("a pinned iterator can produce output only with printf()".into()),
    }
    let other = fields.iter().find(|ty| !matches!(ty, Type::String { .. }) && !number(ty))?;
    error(format!("a pinned iterator cannot print a value of type `{other}`"))
}

/// Whether the kernel's printf (`bpf_seq_printf` of Linux 5.8) supports a conversion, or one that it can easily be
/// mapped to.
fn formats(spec: &FormatSpec) -> bool {
    let plain = !spec.alternate && spec.precision.is_none();
    match spec.conversion {
        Conversion::Signed | Conversion::Unsigned | Conversion::Hex | Conversion::Str => plain,
        Conversion::Pointer | Conversion::Char => plain && spec.width.is_none(),
        _ => false,
    }
}

fn number(ty: &Type) -> bool {
    matches!(ty, Type::Int { .. } | Type::Bool | Type::Enum { .. } | Type::Ptr { .. })
}
