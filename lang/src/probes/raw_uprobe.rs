//! `rawuprobe`: an instruction of a program or library by its offset in the file, whether symbols tell of it or not.

use super::kprobe::number;
use super::{Context, Listing, ProbeKind, Resolved, Spec, is_glob, uprobe};
use crate::bundle::{ProgType, Target};
use crate::diag::Result;
use crate::kernel::Kernel;

pub static RAWUPROBE: ProbeKind = ProbeKind {
    name: "rawuprobe",
    aliases: &[],
    form: "rawuprobe:PROGRAM:OFFSET",
    doc: "The instruction at an offset in the file of a program or library, as stripped files need it. OFFSET is of the \
        file, not an address: `objdump -F -d` prints file offsets.",
    example: "rawuprobe:/bin/bash:0x30c14 { @[comm] = count() }",
    returns: false,
    path: Some(0),
    listing: Listing::Kind,
    prog_type: ProgType::Kprobe,
    resolve,
};

fn resolve(spec: &Spec, kernel: Kernel<'_>) -> Result<Vec<Resolved>> {
    let [program, offset] = spec.parts.as_slice() else { return Err(spec.malformed()) };
    let Some(offset) = number(offset) else {
        return Err(spec.malformed().note(format!("`{offset}` is not a number")));
    };
    if is_glob(program) {
        return Err(spec.malformed().note("an offset needs a single program, not a pattern"));
    }
    let files = kernel.programs.executables(program).map_err(|e| spec.unknowable(e))?;
    let Some(path) = files.into_iter().next() else { return Err(spec.no_program(program)) };
    let Some(address) = kernel.programs.user_address(&path, offset).map_err(|e| spec.unknowable(e))? else {
        return Err(spec
            .missing(format!("offset {offset:#x} is not in the code of {path}"))
            .help(format!("for an address, use uprobe:{path}:{offset:#x}")));
    };
    let function = uprobe::function_around(spec, kernel, &path, address, &format!("offset {offset:#x}"))?;
    let symbol = function.map_or_else(|| format!("{offset:#x}"), |f| f.name);
    Ok(vec![Resolved {
        kind: spec.kind,
        prog_type: ProgType::Kprobe,
        name: format!("{}:{path}:{offset:#x}", spec.kind.name),
        function: symbol.clone(),
        target: Target::Uprobe { path, symbol, offset, ret: false },
        context: Context::UserEntry { go: None },
        multi: false,
    }])
}
