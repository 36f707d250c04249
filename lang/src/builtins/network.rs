//! Addresses and packets.

use super::{Allowed, Builtin, COMMON, Check, Side};
use crate::bundle::{Action, ProgType};
use crate::check::{Call, Checker, characters};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::intrinsic::Intrinsic;
use crate::source::Span;
use crate::typed::{Expr, ExprKind};
use crate::types::Type;
use crate::uapi::helper;
use rtrace_grammar::ast;
use std::net::IpAddr;

/// Program types whose `struct sk_buff *` the kernel trusts.
const TRUSTED: &[ProgType] = &[ProgType::Fentry, ProgType::Fexit, ProgType::BtfTracepoint];

pub(super) static ROWS: &[Builtin] = &[
    Builtin {
        name: "ntop",
        signatures: &["ntop(address)", "ntop(family, address)"],
        doc: "An IPv4 or IPv6 address, printed in text form and comparable with \"10.0.0.1\".",
        example: "fentry:tcp_connect { printf(\"%s\\n\", ntop(args.sk->__sk_common.skc_daddr)) }",
        arity: (1, 2),
        check: Check::Lowered(Intrinsic::Ntop, |c, call, _| ntop(c, call)),
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
        doc: "A MAC address of 6 bytes, printed in hexadecimal.",
        example: "fentry:__dev_queue_xmit { @[macaddr(args.skb->dev->dev_addr)] = count() }",
        arity: (1, 1),
        helper: Some(helper::PROBE_READ_KERNEL),
        check: Check::Lowered(Intrinsic::Macaddr, macaddr),
        ..COMMON
    },
    Builtin {
        name: "skboutput",
        signatures: &["skboutput(\"file\", skb, length, offset)"],
        doc: "Writes a packet, up to a length, to a pcap file; returns 0 or a negative error number.",
        example: "fentry:ip_rcv { skboutput(\"receive.pcap\", args.skb, args.skb->len, 0) }",
        arity: (4, 4),
        allowed: Allowed::In(TRUSTED),
        helper: Some(helper::SKB_OUTPUT),
        check: Check::Lowered(Intrinsic::Skboutput, skboutput),
        ..COMMON
    },
    Builtin {
        name: "in_net",
        signatures: &["in_net(address, \"10.0.0.0/8\")"],
        doc: "Whether an IPv4 or IPv6 address is in a network.",
        example: "fentry:tcp_connect /in_net(args.sk->__sk_common.skc_daddr, \"10.0.0.0/8\")/ { @[comm] = count() }",
        arity: (2, 2),
        check: Check::Lowered(Intrinsic::InNet, in_net),
        ..COMMON
    },
    Builtin {
        name: "bswap",
        signatures: &["bswap(n)"],
        doc: "An integer with its bytes in reverse order.",
        example: "fentry:tcp_connect { @[bswap(args.sk->__sk_common.skc_dport)] = count() }",
        arity: (1, 1),
        check: Check::Lowered(Intrinsic::Bswap, |c, call, _| swapped(c, call, None)),
        ..COMMON
    },
    Builtin {
        name: "ntohs",
        signatures: &["ntohs(n)"],
        doc: "Converts 16 bits from network to host byte order.",
        example: "fentry:tcp_connect { @[ntohs(args.sk->__sk_common.skc_dport)] = count() }",
        arity: (1, 1),
        check: Check::Value(|c, call| swapped(c, call, Some(Type::U16))),
        ..COMMON
    },
    Builtin {
        name: "ntohl",
        signatures: &["ntohl(n)"],
        doc: "Converts 32 bits from network to host byte order.",
        example: "fentry:tcp_connect { printf(\"%x\\n\", ntohl(args.sk->__sk_common.skc_daddr)) }",
        arity: (1, 1),
        check: Check::Value(|c, call| swapped(c, call, Some(Type::U32))),
        ..COMMON
    },
    Builtin {
        name: "htons",
        signatures: &["htons(n)"],
        doc: "Converts 16 bits from host to network byte order.",
        example: "fentry:tcp_connect /args.sk->__sk_common.skc_dport == htons(443)/ { @[comm] = count() }",
        arity: (1, 1),
        check: Check::Value(|c, call| swapped(c, call, Some(Type::U16))),
        ..COMMON
    },
    Builtin {
        name: "htonl",
        signatures: &["htonl(n)"],
        doc: "Converts 32 bits from host to network byte order.",
        example: "fentry:tcp_connect /args.sk->__sk_common.skc_daddr == htonl(0x7f000001)/ { @[comm] = count() }",
        arity: (1, 1),
        check: Check::Value(|c, call| swapped(c, call, Some(Type::U32))),
        ..COMMON
    },
    Builtin {
        name: "netns",
        signatures: &["netns", "netns(task)", "netns(sock)", "netns(skb)"],
        doc: "The network namespace of the running process, or that of a task, a socket or a packet, as the inode number that `stat -L /proc/PID/ns/net` shows.",
        example: "fentry:tcp_connect { @[netns(args.sk), comm] = count() }",
        arity: (0, 1),
        check: Check::Prelude,
        ..COMMON
    },
    Builtin {
        name: "socket_cookie",
        signatures: &["socket_cookie(sock)"],
        doc: "The cookie of a socket: a number that identifies it.",
        example: "fentry:tcp_connect { @[socket_cookie(args.sk)] = count() }",
        arity: (1, 1),
        allowed: Allowed::In(TRUSTED),
        helper: Some(helper::GET_SOCKET_COOKIE),
        check: Check::Lowered(Intrinsic::SocketCookie, socket_cookie),
        ..COMMON
    },
];

const AF_INET: i64 = 2;
const AF_INET6: i64 = 10;

fn ntop(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [first] = call.args()?;
    match call.arg(1) {
        Some(address) => inet(c, Some(first), address, call.span),
        None => inet(c, None, first, call.span),
    }
}

/// An address as a value that knows its family; which one it is follows from its size where no expression says so.
fn inet(c: &mut Checker<'_>, family: Option<&ast::Expr>, address: &ast::Expr, span: Span) -> Result<Expr> {
    let at = address.span;
    // A `char` array of a structure or tracepoint may hold one; a string that was made does not.
    let address = characters(c.expr(address)?);
    let size = address.ty.size();
    let address = match &address.ty {
        Type::Int { .. } => address,
        Type::Array { .. } | Type::Record(_) if size == 4 || size == 16 => address,
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
        None => Expr::int(if address.ty.size() == 16 { AF_INET6 } else { AF_INET }, Type::I64, span),
    };
    if address.ty.is_scalar() && family.constant() == Some(AF_INET6) {
        return Err(Diagnostic::error(Code::WrongType, at, "expected the 16 bytes of an IPv6 address, found a number")
            .help("pass the array, such as $ip6->saddr.in6_u.u6_addr8"));
    }
    if let Some(f) = family.constant()
        && f != AF_INET
        && f != AF_INET6
    {
        return Err(Diagnostic::error(Code::BadValue, family.span, format!("unknown address family {f}"))
            .help("use AF_INET or AF_INET6"));
    }
    Ok(Expr::intrinsic(Intrinsic::Ntop, vec![family, address], Type::Inet, span))
}

fn pton(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [arg] = call.args()?;
    let text = c.literal_text(arg, "an address")?;
    let bytes = match parse_address(&text, arg.span)? {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    };
    let ty = Type::Array { elem: Box::new(Type::U8), len: bytes.len() as u32 };
    Ok(Expr { kind: ExprKind::Bytes(bytes), ty, span: call.span })
}

fn parse_address(text: &str, span: Span) -> Result<IpAddr> {
    text.parse().map_err(|_| {
        Diagnostic::error(Code::BadValue, span, format!("`{text}` is not an IPv4 or IPv6 address"))
            .help("for example 10.0.0.1 or fe80::1")
    })
}

fn macaddr(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let [arg] = call.args()?;
    let e = characters(c.expr(arg)?);
    match &e.ty {
        Type::Ptr { .. } => {}
        Type::Array { .. } | Type::String { .. } if e.ty.size() >= 6 => {}
        Type::Int { .. } => {
            let e = c.integer(e, "an address")?;
            let ty = Type::Ptr { to: Box::new(Type::U8), space: c.space_of(&e) };
            let e = Expr { kind: ExprKind::Convert(Box::new(e)), ty, span: arg.span };
            return Ok(call.lowered(intrinsic, vec![e], Type::Mac));
        }
        other => {
            return Err(Diagnostic::error(
                Code::WrongType,
                arg.span,
                format!("`macaddr` takes 6 bytes, not `{other}`"),
            ));
        }
    }
    Ok(call.lowered(intrinsic, vec![e], Type::Mac))
}

fn skboutput(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let [path, skb, length, offset] = call.args()?;
    let path = c.literal_text(path, "the name of the file")?;
    let (at, whole, headers) = (skb.span, member_of(skb, "len"), skb.clone());
    let skb = c.expr(skb)?;
    let trusted =
        matches!(&skb.ty, Type::Ptr { to, .. } if matches!(&**to, Type::Record(r) if r.name == "struct sk_buff"));
    if !trusted {
        return Err(Diagnostic::error(
            Code::WrongType,
            at,
            format!("`skboutput` takes a `struct sk_buff *`, not `{}`", skb.ty),
        )
        .help("use the probe's argument by name, as in args.skb"));
    }
    if !from_context(c, &skb) {
        return Err(Diagnostic::error(
            Code::WrongType,
            at,
            "the kernel accepts only a packet that is an argument of the probe",
        )
        .note("the BPF verifier does not trust a pointer that was read from memory or comes from a cast")
        .help("use the probe's argument by name, as in args.skb"));
    }
    let length = c.expr(length).and_then(|e| c.integer(e, "the length"))?;
    let whole = c.expr(&whole).and_then(|e| c.integer(e, "the length"))?;
    let headers = pulled(c, &headers)?;
    let at = offset.span;
    let offset = c.constant(offset, "the offset")?;
    let Ok(start) = u32::try_from(offset) else {
        return Err(Diagnostic::error(Code::BadValue, at, format!("invalid packet offset {offset}")));
    };
    let event = c.event(Action::Packet { path, offset: start }, Vec::new(), call.span);
    let event = Expr::int(i64::from(event), Type::U32, call.span);
    let offset = Expr::int(offset, Type::I64, call.span);
    let mut args = vec![event, skb, length, offset, whole];
    args.extend(headers);
    Ok(call.lowered(intrinsic, args, Type::I32))
}

/// `skb->NAME`
fn member_of(skb: &ast::Expr, name: &str) -> ast::Expr {
    let name = ast::Name { text: name.to_owned(), span: skb.span };
    ast::Expr { kind: ast::ExprKind::Field { base: Box::new(skb.clone()), name, arrow: true }, span: skb.span }
}

/// The position of the network header, and the distance from it to the data: deeper in the stack the kernel has removed
/// headers off the data, which are still there.
fn pulled(c: &mut Checker<'_>, skb: &ast::Expr) -> Result<Vec<Expr>> {
    let mut number = |name: &str| c.expr(&member_of(skb, name)).and_then(|e| c.integer(e, "an address"));
    let (head, header, data) = (number("head")?, number("network_header")?, number("data")?);
    let start = c.arithmetic(ast::BinOp::Add, head, header, skb.span)?;
    let bytes = c.arithmetic(ast::BinOp::Sub, data, start.clone(), skb.span)?;
    Ok(vec![start, bytes])
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

/// A call of the row `bswap` on a value of the type given, or else its own; constants are swapped at once.
fn swapped(c: &mut Checker<'_>, call: &Call<'_>, ty: Option<Type>) -> Result<Expr> {
    let [arg] = call.args()?;
    let e = c.expr(arg)?;
    let bits = match (&ty, &e.ty) {
        (Some(Type::Int { bits, .. }), _) | (None, Type::Int { bits, .. } | Type::Enum { bits, .. }) => *bits,
        _ => 64,
    };
    let ty = Type::Int { bits, signed: false };
    let e = c.integer(e, &format!("the argument of `{}`", call.builtin.name))?;
    let e = c.coerce(e, &ty)?;
    if let Some(n) = e.constant() {
        let swapped = (n as u64).swap_bytes() >> (64 - u32::from(bits));
        return Ok(Expr::int(swapped as i64, ty, call.span));
    }
    Ok(if bits > 8 { call.lowered(Intrinsic::Bswap, vec![e], ty) } else { e })
}

fn in_net(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let [address, net] = call.args()?;
    let text = c.literal_text(net, "the network")?;
    let wrong = || {
        Diagnostic::error(Code::BadValue, net.span, format!("`{text}` is not a network in CIDR notation"))
            .help("for example 10.0.0.0/8 or fe80::/10")
    };
    let (base, length) = text.split_once('/').ok_or_else(wrong)?;
    let base: IpAddr = base.parse().map_err(|_| wrong())?;
    let (family, octets) = octets(base);
    let length: usize = length.parse().ok().filter(|n| *n <= octets.len() * 8).ok_or_else(wrong)?;
    // The inline representation of an address: the family, then the bytes.
    let mut mask = vec![0xff; 4];
    mask.extend((0..octets.len()).map(|i| (0xff00u32 >> length.saturating_sub(i * 8).min(8)) as u8));
    let mut bytes = family.to_le_bytes().to_vec();
    bytes.extend(octets);
    for list in [&mut mask, &mut bytes] {
        list.resize(Type::Inet.size() as usize, 0);
    }
    bytes.iter_mut().zip(&mask).for_each(|(b, m)| *b &= m);
    let value = |bytes| Expr { kind: ExprKind::Bytes(bytes), ty: Type::Inet, span: net.span };
    let address = inet(c, None, address, call.span)?;
    Ok(call.lowered(intrinsic, vec![address, value(bytes), value(mask)], Type::Bool))
}

/// The family and the bytes of an address.
fn octets(address: IpAddr) -> (u32, Vec<u8>) {
    match address {
        IpAddr::V4(a) => (AF_INET as u32, a.octets().to_vec()),
        IpAddr::V6(a) => (AF_INET6 as u32, a.octets().to_vec()),
    }
}

fn socket_cookie(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let [arg] = call.args()?;
    let sock = c.expr(arg)?;
    let is_sock =
        matches!(&sock.ty, Type::Ptr { to, .. } if matches!(&**to, Type::Record(r) if r.name == "struct sock"));
    if !is_sock {
        let message = format!("`socket_cookie` takes a `struct sock *`, not `{}`", sock.ty);
        return Err(Diagnostic::error(Code::WrongType, arg.span, message)
            .help("use the probe's argument by name, as in args.sk"));
    }
    Ok(call.lowered(intrinsic, vec![sock], Type::U64))
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
                    _ => return Err(Diagnostic::error(Code::WrongType, e.span, "an IP address has 4 or 16 bytes")),
                }
            }
            (_, Type::Array { len: 4 | 16, .. }) => {
                let family = if e.ty.size() == 16 { AF_INET6 } else { AF_INET };
                let (span, family) = (e.span, Expr::int(family, Type::I64, e.span));
                return Ok(Expr::intrinsic(Intrinsic::Ntop, vec![family, e], Type::Inet, span));
            }
            _ => {
                return Err(Diagnostic::error(
                    Code::WrongType,
                    e.span,
                    "an IP address can be compared only with a constant such as \"10.0.0.1\" or with another address",
                ));
            }
        };
        let (family, octets) = octets(address);
        let mut bytes = family.to_le_bytes().to_vec();
        bytes.extend(octets);
        bytes.resize(Type::Inet.size() as usize, 0);
        Ok(Expr { kind: ExprKind::Bytes(bytes), ty: Type::Inet, span: e.span })
    }
}
