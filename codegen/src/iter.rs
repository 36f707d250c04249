//! Iterators: the object that a run is for, and how one that is pinned prints into the file that is being read.
//!
//! The kernel runs an iterator's program for each object, and once more, without one, at the end; that run is left
//! out. The verifier takes each pointer of the context for null until it is tested.

use crate::llvm::ir::{Effect, Pred, Val};
use crate::lower::Lower;
use crate::pool::Mem;
use rtrace_lang::bundle::{Action, Conversion, EventDef, FormatSpec, Piece, ProgType, Target};
use rtrace_lang::diag::Result;
use rtrace_lang::typed::Expr;
use rtrace_lang::types::Type;
use rtrace_lang::uapi::helper::{SEQ_PRINTF, SEQ_WRITE};

/// Offset of the object in the context; `struct bpf_iter_meta *meta` comes before it.
const OBJECT: u32 = 8;
/// Text is written in pieces that the stack has room for.
const PIECE: usize = 48;

impl<'c> Lower<'_, '_, 'c> {
    pub fn is_pinned(&self) -> bool {
        self.program.attach.iter().any(|a| matches!(a.target, Target::Iter { pin: Some(_), .. }))
    }

    /// At the start of an iterator's program: ends it if there is no object. One byte in the file for each object lets
    /// the runtime, which reads it, choose after how many objects it looks at the events.
    pub fn begin_object(&mut self) -> Result<()> {
        if self.program.prog_type != ProgType::Iter {
            return Ok(());
        }
        let object = self.ir.load_context(self.context, OBJECT, 8, false);
        self.leave_if_null(object);
        if !self.is_pinned() {
            self.write_bytes(b"\n");
        }
        Ok(())
    }

    /// After a pointer of an iterator's context was loaded: ends the program if it is null.
    pub fn require_object(&mut self, v: Val<'c>, offset: u32, ty: &Type) {
        if self.program.prog_type == ProgType::Iter && offset >= OBJECT && matches!(ty, Type::Ptr { .. }) {
            self.leave_if_null(v);
        }
    }

    fn leave_if_null(&mut self, v: Val<'c>) {
        let (none, some) = (self.ir.block("no_object"), self.ir.block("object"));
        self.ir.cond_br(self.ir.icmp(Pred::EQ, v, self.ir.int(0)), none, some);
        self.ir.at(none);
        self.leave();
        self.ir.at(some);
    }

    /// `ctx->meta->seq`: what is being read.
    fn seq(&self) -> Val<'c> {
        let meta = self.ir.load_context(self.context, 0, 8, false);
        self.ir.load_context(self.ir.int_to_ptr(meta), 0, 8, false)
    }

    fn seq_write(&self, from: Mem<'c>, len: Val<'c>) {
        let args = [self.ir.int_to_ptr(self.seq()).into(), from.ptr.into(), len.into()];
        self.ir.helper(SEQ_WRITE, &args, Effect::Any);
    }

    fn write_bytes(&mut self, text: &[u8]) {
        for piece in text.chunks(PIECE) {
            let mark = self.mark();
            let size = piece.len().next_multiple_of(8) as u32;
            let mem = self.stack_slot(size).unwrap_or_else(|| Mem { ptr: self.ir.alloca(size), align: 8 });
            self.store_bytes(mem, piece, size);
            self.seq_write(mem, self.ir.int(piece.len() as i64));
            self.release(mark);
        }
    }

    /// Lowers the output of a pinned iterator. The checker allows only values that the kernel can format.
    pub fn print_to_file(&mut self, def: &EventDef, args: &[Expr]) -> Result<()> {
        let value = args.first().map(|a| Piece::Spec(plain(&a.ty)));
        let line = [value, Some(Piece::Text(b"\n".to_vec()))];
        let pieces: Vec<&Piece> = match &def.action {
            Action::Printf { format, .. } => format.0.iter().collect(),
            Action::PrintValue => line.iter().flatten().collect(),
            _ => return self.unexpected("this event"),
        };
        let mut args = args.iter();
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.write_bytes(text),
                Piece::Spec(spec) => match args.next() {
                    Some(arg) => self.print_value(spec, arg)?,
                    None => return self.unexpected("this event"),
                },
            }
        }
        Ok(())
    }

    fn print_value(&mut self, spec: &FormatSpec, arg: &Expr) -> Result<()> {
        let mark = self.mark();
        match (&arg.ty, spec.conversion) {
            (Type::String { cap }, _) => {
                let text = self.temp(cap.next_multiple_of(8))?;
                let (len, _) = self.variable(arg, text, *cap)?;
                match spec.width {
                    None => self.seq_write(text, len),
                    Some(_) => {
                        // `variable` leaves no NUL behind the text.
                        self.ir.store(self.ir.index(text.ptr, len), self.ir.int(0), 1, 1);
                        let at = self.ir.ptr_to_int(text.ptr);
                        self.seq_printf(spec, "s", at);
                    }
                }
            }
            (_, Conversion::Char) => {
                let v = self.number(arg)?;
                let byte = self.word();
                self.ir.store(byte.ptr, v, 1, 8);
                self.seq_write(byte, self.ir.int(1));
            }
            (ty, conversion) => {
                let v = self.number(arg)?;
                let unsigned = self.ir.narrow(v, ty.size().max(1) * 8, false);
                match conversion {
                    Conversion::Unsigned => self.seq_printf(spec, "llu", unsigned),
                    Conversion::Hex => self.seq_printf(spec, "llx", unsigned),
                    Conversion::Pointer => {
                        self.write_bytes(b"0x");
                        self.seq_printf(spec, "llx", unsigned);
                    }
                    _ if matches!(ty, Type::Ptr { .. }) => {
                        self.write_bytes(b"0x");
                        self.seq_printf(spec, "llx", unsigned);
                    }
                    _ if ty.is_signed() => self.seq_printf(spec, "lld", v),
                    _ => self.seq_printf(spec, "llu", v),
                }
            }
        }
        self.release(mark);
        Ok(())
    }

    /// One conversion with its value.
    fn seq_printf(&mut self, spec: &FormatSpec, conversion: &str, v: Val<'c>) {
        let mut format = "%".to_owned();
        let flags = [(spec.minus, '-'), (spec.plus, '+'), (spec.space, ' '), (spec.zero, '0')];
        format.extend(flags.iter().filter(|(set, _)| *set).map(|(_, c)| *c));
        if let Some(width) = spec.width {
            format.push_str(&width.to_string());
        }
        format.push_str(conversion);
        format.push('\0');
        let size = format.len().next_multiple_of(8) as u32;
        let text = self.stack_slot(size).unwrap_or_else(|| Mem { ptr: self.ir.alloca(size), align: 8 });
        self.store_bytes(text, format.as_bytes(), size);
        let word = self.word();
        self.ir.store(word.ptr, v, 8, 8);
        let len = self.ir.int(format.len() as i64);
        let args = [
            self.ir.int_to_ptr(self.seq()).into(),
            text.ptr.into(),
            len.into(),
            word.ptr.into(),
            self.ir.int(8).into(),
        ];
        self.ir.helper(SEQ_PRINTF, &args, Effect::Any);
    }
}

/// The conversion that `print` stands for.
fn plain(ty: &Type) -> FormatSpec {
    let conversion = if matches!(ty, Type::String { .. }) { Conversion::Str } else { Conversion::Signed };
    FormatSpec {
        minus: false,
        plus: false,
        space: false,
        zero: false,
        alternate: false,
        width: None,
        precision: None,
        length_bits: 0,
        conversion,
    }
}
