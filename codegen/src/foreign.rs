//! Calls of functions of imported C.

use crate::llvm::ir::{Arg, Val};
use crate::lower::Lower;
use crate::pool::Mem;
use rtrace_lang::diag::Result;
use rtrace_lang::typed::Expr;
use rtrace_lang::types::Type;

impl<'u, 'm, 'c> Lower<'u, 'm, 'c> {
    /// A call of a C function. What is no scalar is passed by the address of a copy.
    pub fn foreign(&mut self, e: &Expr, name: &str, params: &[Type], args: &[Expr]) -> Result<Val<'c>> {
        let Some(function) = self.unit.foreign.function(name) else {
            return self.unexpected(&format!("a call of the C function `{name}`"));
        };
        let mark = self.mark();
        let mut values = Vec::new();
        for (arg, param) in args.iter().zip(params) {
            values.push(if !arg.ty.is_scalar() {
                let Mem { ptr, .. } = self.copied(arg)?;
                Arg::Ptr(ptr)
            } else if matches!(param, Type::Ptr { .. }) {
                Arg::Val(self.scalar(arg)?)
            } else {
                Arg::Val(self.number(arg)?)
            });
        }
        self.locate(e.span);
        let value = self.ir.call(function, &values, e.ty.is_signed());
        self.release(mark);
        Ok(if e.ty.is_scalar() { self.normal(value, &e.ty) } else { value })
    }

    fn copied(&mut self, e: &Expr) -> Result<Mem<'c>> {
        let mem = self.temp(e.ty.size())?;
        self.eval_into(e, mem)?;
        Ok(mem)
    }
}
