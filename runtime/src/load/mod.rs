//! Loading: a bundle's object becomes maps and programs in the kernel. [`object`] parses, creates the maps and
//! relocates, [`program`] loads programs one at a time as attaching asks for them, [`session`] makes one of two,
//! [`verifier`] explains refusals, [`maps`] reads what programs leave, [`merge`] adds up per-CPU copies, [`stacks`] makes
//! room for stacks.

pub mod maps;
pub mod merge;
pub mod object;
pub mod program;
mod session;
mod stacks;
pub mod verifier;

pub use maps::{Entry, Maps, MapsError};
pub use object::{Loaded, load};
pub use program::{Multi, Variant};
pub use verifier::VerifierError;

use std::io;

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the bundle's object cannot be used: {0}")]
    Object(String),
    #[error(
        "not allowed to load BPF: this needs root, or the capabilities CAP_BPF and CAP_PERFMON (before Linux 5.11 \
         also CAP_SYS_RESOURCE or a larger `ulimit -l`, before 5.8 CAP_SYS_ADMIN); kernel lockdown in confidentiality mode forbids it to everybody"
    )]
    Privileges { source: io::Error },
    #[error("cannot create map {map}: {reason}")]
    Map { map: String, reason: String, source: io::Error },
    #[error("the kernel refuses program {program}: {source}")]
    Program { program: String, span: (u32, u32), source: io::Error },
    #[error("{error}")]
    Verifier { span: (u32, u32), error: Box<VerifierError> },
}

impl LoadError {
    fn map(map: &str, source: io::Error) -> LoadError {
        let reason = match source.raw_os_error() {
            Some(libc::EPERM) => return LoadError::Privileges { source },
            Some(libc::E2BIG) => "it is too large (this kernel limits keys and values)".into(),
            Some(libc::ENOMEM) => "not enough memory; a smaller max_map_keys or perf_rb_pages may help".into(),
            Some(libc::EINVAL) => "this kernel does not support this map type".into(),
            _ => source.to_string(),
        };
        LoadError::Map { map: map.into(), reason, source }
    }

    /// The clause that the error is about.
    pub fn span(&self) -> Option<(u32, u32)> {
        match self {
            LoadError::Program { span, .. } => Some(*span),
            LoadError::Verifier { span, error } => Some(error.position.map_or(*span, |at| (at, at))),
            _ => None,
        }
    }
}
