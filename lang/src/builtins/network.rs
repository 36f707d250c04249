//! Addresses and packets.

use super::{Allowed, Builtin, COMMON, Check, Side, helper};
use crate::bundle::{Action, ProgType};
use crate::check::{Call, Checker};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::kernel::Version;
use crate::typed::{Expr, ExprKind};
use crate::types::Type;
use std::net::IpAddr;

/// Program types whose `struct sk_buff *` the kernel trusts.
const TRUSTED: &[ProgType] = &[ProgType::Fentry, ProgType::Fexit, ProgType::BtfTracepoint];

pub(super) static ROWS: &[Builtin] = &[
    Builtin {
        name: "ntop",
        signatures: &["ntop(address)", "ntop(family, address)"],
        doc: "An IPv4 or IPv6 address as a value that prints in its usual form and compares with \"10.0.0.1\".",
        example: "fentry:tcp_connect { printf(\"%s\\n\", ntop(args.sk->__sk_common.skc_daddr)) }",
        arity: (1, 2),
        check: Check::Value(ntop),
        ..COMMON
    },
    Builtin {
        name: "pton",
        signatures: &["pton(\"address\")"],
        doc: "The bytes of an IPv4 or IPv6 address in text form.",
        example: "begin { if (pton(\"127.0.0.1\") == pton(\"127.0.0.1\")) { printf(\"same\\n\") } exit() }",
        side: Side::Const,
        arity: (1, 1),
        check: Check::Value(pton),
        ..COMMON
    },
    Builtin {
        name: "macaddr",
        signatures: &["macaddr(bytes)"],
        doc: "A link-layer address of 6 bytes, printed in its usual form.",
        example: "fentry:__dev_queue_xmit { @[macaddr(args.skb->dev->dev_addr)] = count() }",
        arity: (1, 1),
        helper: helper("bpf_probe_read_kernel", 113, Version(5, 5)),
        check: Check::Value(macaddr),
        ..COMMON
    },
    Builtin {
        name: "skboutput",
        signatures: &["skboutput(\"file\", skb, length, offset)"],
        doc: "Writes a packet to a pcap file; gives 0 or a negative error.",
        example: "fentry:ip_rcv { skboutput(\"receive.pcap\", args.skb, args.skb->len, 0) }",
        arity: (4, 4),
        allowed: Allowed::In(TRUSTED),
        helper: helper("bpf_skb_output", 111, Version(5, 5)),
        check: Check::Value(skboutput),
        ..COMMON
    },
];

const AF_INET: i64 = 2;
const AF_INET6: i64 = 10;

fn ntop(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let (family, address) = match (call.arg(0), call.arg(1)) {
        (Some(f), Some(a)) => (Some(f), a),
        (Some(a), None) => (None, a),
        _ => return Ok(Expr::int(0, Type::Void, call.span)),
    };
    let at = address.span;
    let address = c.expr(address)?;
    let size = address.ty.size();
    let address = match &address.ty {
        Type::Int { .. } => address,
        Type::Array { .. } | Type::Record(_) if size == 4 || size == 16 => address,
        // A `char` array of a structure or tracepoint may hold one; a string that was made does not.
        Type::String { .. } if (size == 4 || size == 16) && matches!(address.kind, ExprKind::Load { .. }) => address,
        // The address of an address.
        Type::Ptr { to, .. } if matches!(to.size(), 4 | 16) => c.dereference(address, at)?,
        Type::Inet => return Ok(address),
        other => {
            return Err(Diagnostic::error(
                Code::WrongType,
                at,
                format!("`ntop` takes an address of 4 or 16 bytes, not `{other}`"),
            ));
        }
    };
    let family = match family {
        Some(f) => {
            let f = c.expr(f)?;
            c.integer(f, "the address family")?
        }
        None => Expr::int(if address.ty.size() == 16 { AF_INET6 } else { AF_INET }, Type::I64, call.span),
    };
    if address.ty.is_scalar() && family.constant() == Some(AF_INET6) {
        return Err(Diagnostic::error(Code::WrongType, at, "an IPv6 address has 16 bytes, and this is a number")
            .help("give the array, such as $ip6->saddr.in6_u.u6_addr8"));
    }
    if let Some(f) = family.constant()
        && f != AF_INET
        && f != AF_INET6
    {
        return Err(Diagnostic::error(Code::BadValue, family.span, format!("{f} is no address family"))
            .help("AF_INET or AF_INET6"));
    }
    Ok(call.lowered(vec![family, address], Type::Inet))
}

fn pton(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let Some(arg) = call.arg(0) else { return Ok(Expr::int(0, Type::Void, call.span)) };
    let text = c.literal_text(arg, "an address")?;
    let bytes = match parse_address(&text, arg.span)? {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    };
    let ty = Type::Array { elem: Box::new(Type::U8), len: bytes.len() as u32 };
    Ok(Expr { kind: ExprKind::Bytes(bytes), ty, span: call.span })
}

fn parse_address(text: &str, span: crate::source::Span) -> Result<IpAddr> {
    text.parse().map_err(|_| {
        Diagnostic::error(Code::BadValue, span, format!("`{text}` is no IPv4 or IPv6 address"))
            .help("for example 10.0.0.1 or fe80::1")
    })
}

fn macaddr(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let Some(arg) = call.arg(0) else { return Ok(Expr::int(0, Type::Void, call.span)) };
    let e = c.expr(arg)?;
    match &e.ty {
        Type::Ptr { .. } => {}
        Type::Array { .. } | Type::String { .. } if e.ty.size() >= 6 => {}
        Type::Int { .. } => {
            let e = c.integer(e, "an address")?;
            let ty = Type::Ptr { to: Box::new(Type::U8), space: c.default_space() };
            let e = Expr { kind: ExprKind::Convert(Box::new(e)), ty, span: arg.span };
            return Ok(call.lowered(vec![e], Type::Mac));
        }
        other => {
            return Err(Diagnostic::error(
                Code::WrongType,
                arg.span,
                format!("`macaddr` takes 6 bytes, not `{other}`"),
            ));
        }
    }
    Ok(call.lowered(vec![e], Type::Mac))
}

fn skboutput(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let (Some(path), Some(skb), Some(length), Some(offset)) = (call.arg(0), call.arg(1), call.arg(2), call.arg(3))
    else {
        return Ok(Expr::int(0, Type::Void, call.span));
    };
    let path = c.literal_text(path, "the name of the file")?;
    let at = skb.span;
    let skb = c.expr(skb)?;
    let trusted =
        matches!(&skb.ty, Type::Ptr { to, .. } if matches!(&**to, Type::Record(r) if r.name == "struct sk_buff"));
    if !trusted {
        return Err(Diagnostic::error(
            Code::WrongType,
            at,
            format!("`skboutput` takes a `struct sk_buff *`, not `{}`", skb.ty),
        )
        .help("take it from the arguments by name, as in args.skb"));
    }
    if !from_context(c, &skb) {
        return Err(Diagnostic::error(
            Code::WrongType,
            at,
            "the kernel accepts only the packet that the probe itself hands over",
        )
        .note("a pointer read from memory or made by a cast is not trusted by the BPF verifier")
        .help("take it from the arguments by name, as in args.skb"));
    }
    let length = c.expr(length).and_then(|e| c.integer(e, "the length"))?;
    let at = offset.span;
    let offset = c.constant(offset, "the offset")?;
    let Ok(start) = u32::try_from(offset) else {
        return Err(Diagnostic::error(Code::BadValue, at, format!("a packet has no byte {offset}")));
    };
    let event = c.event(Action::Packet { path, offset: start }, Vec::new(), call.span);
    let event = Expr::int(i64::from(event), Type::U32, call.span);
    let offset = Expr::int(offset, Type::I64, call.span);
    Ok(call.lowered(vec![event, skb, length, offset], Type::I32))
}

/// Whether a pointer comes straight from the probe's arguments, directly or through a variable.
fn from_context(_: &Checker<'_>, e: &Expr) -> bool {
    match &e.kind {
        ExprKind::Ctx { .. } => true,
        // Assigned once from such an argument in the common case; the verifier has the last word.
        ExprKind::Local(_) => true,
        _ => false,
    }
}

impl Checker<'_> {
    /// A constant address as an `inet` value.
    pub(crate) fn inet_of(&mut self, e: Expr) -> Result<Expr> {
        let address = match (&e.kind, &e.ty) {
            (ExprKind::Bytes(text), Type::String { .. }) => parse_address(&String::from_utf8_lossy(text), e.span)?,
            (ExprKind::Bytes(bytes), Type::Array { .. }) => {
                match (<[u8; 4]>::try_from(bytes.as_slice()), <[u8; 16]>::try_from(bytes.as_slice())) {
                    (Ok(v4), _) => IpAddr::from(v4),
                    (_, Ok(v6)) => IpAddr::from(v6),
                    _ => return Err(Diagnostic::error(Code::WrongType, e.span, "an address has 4 or 16 bytes")),
                }
            }
            (_, Type::Array { len: 4 | 16, .. }) => {
                let family = if e.ty.size() == 16 { AF_INET6 } else { AF_INET };
                let Some(call) = Call::bare("ntop", e.span) else { return Ok(e) };
                let family = Expr::int(family, Type::I64, e.span);
                return Ok(call.lowered(vec![family, e], Type::Inet));
            }
            _ => {
                return Err(Diagnostic::error(
                    Code::WrongType,
                    e.span,
                    "an address is compared with a constant such as \"10.0.0.1\", or another address",
                ));
            }
        };
        let (family, octets) = match address {
            IpAddr::V4(a) => (AF_INET as u32, a.octets().to_vec()),
            IpAddr::V6(a) => (AF_INET6 as u32, a.octets().to_vec()),
        };
        let mut bytes = family.to_le_bytes().to_vec();
        bytes.extend(octets);
        bytes.resize(Type::Inet.size() as usize, 0);
        Ok(Expr { kind: ExprKind::Bytes(bytes), ty: Type::Inet, span: e.span })
    }
}
