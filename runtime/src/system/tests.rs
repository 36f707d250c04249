//! Facts asked of the machine that the tests run on. Where it has no BTF they fail, so they run only when they are
//! asked for: `scripts/test` does so on machines that have some.

use super::*;
use rtrace_core::kernel::{Functions, Machine, Tracepoints};
use rtrace_core::types::{Record, Space};
use rtrace_facts::btf;

/// The system we run on.
fn host() -> System {
    let system = System::new();
    assert!(system.kernel.has_btf(), "no /sys/kernel/btf/vmlinux on this machine");
    system
}

fn record(system: &System, kind: TypeKind, name: &str) -> Record {
    match system.find_type(kind, name).expect("BTF") {
        Some(Type::Record(record)) => record,
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
#[ignore = "reads the BTF of the running kernel"]
fn members_of_structs() {
    let system = host();
    let skb = record(&system, TypeKind::Struct, "sk_buff");
    assert_eq!(skb.name, "struct sk_buff");
    let len = system.member(skb.id, "len").expect("a member");
    assert_eq!((len.ty, len.bits), (Type::U32, None));
    // Inside anonymous structs and unions.
    let dev = system.member(skb.id, "dev").expect("a member");
    assert_eq!(dev.bit_offset, 128);
    assert!(matches!(&dev.ty, Type::Ptr { to, space: Space::Kernel }
        if matches!(&**to, Type::Record(r) if r.name == "struct net_device" && r.size > 0)));
    let cloned = system.member(skb.id, "cloned").expect("a bit-field");
    assert_eq!(cloned.bits, Some(1));
    assert!(system.member(skb.id, "no_such_member").is_none());
    let task = record(&system, TypeKind::Struct, "task_struct");
    assert_eq!(system.member(task.id, "comm").expect("a member").ty, Type::String { cap: 16 });
    let parent = system.member(task.id, "parent").expect("a member").ty;
    assert_eq!(parent, Type::kptr(Type::Record(task.clone())));
    assert!(system.members(task.id).len() > 50);
    // A typedef of an anonymous struct goes by the typedef's name.
    assert_eq!(record(&system, TypeKind::Typedef, "atomic_t").name, "atomic_t");
    let iphdr = record(&system, TypeKind::Struct, "iphdr");
    let ihl = system.member(iphdr.id, "ihl").expect("a bit-field");
    assert_eq!((ihl.bit_offset, ihl.bits, iphdr.size), (0, Some(4), 20));
    assert_eq!(system.member(iphdr.id, "saddr").expect("a member").bit_offset, 96);
}

#[test]
#[ignore = "reads the BTF of the running kernel"]
fn every_record_can_be_converted() {
    let system = host();
    let mut names = Vec::new();
    system
        .kernel
        .btf
        .each_name(btf::Kind::Struct, None, &mut |n| names.push(String::from_utf8_lossy(n).into_owned()))
        .unwrap();
    // One in fifty keeps the test short.
    for name in names.iter().filter(|n| !n.is_empty()).step_by(50) {
        let found = record(&system, TypeKind::Struct, name);
        for member in system.members(found.id) {
            if !member.name.is_empty() {
                assert_eq!(system.member(found.id, &member.name), Some(member), "{name}");
            }
        }
    }
}

#[test]
#[ignore = "reads the BTF of the running kernel"]
fn enums_and_their_values() {
    let system = host();
    assert_eq!(system.enumerator("IPPROTO_TCP").map(|(v, _)| v), Some(6));
    let (value, ty) = system.enumerator("PIDTYPE_TGID").expect("an enumerator");
    assert_eq!((value, ty.to_string().as_str()), (1, "enum pid_type"));
    let values = system.enum_values("pid_type");
    assert_eq!(values.first(), Some(&("PIDTYPE_PID".to_owned(), 0)));
    assert!(system.enumerator("NO_SUCH_ENUMERATOR").is_none());
    assert!(system.enum_values("no_such_enum").is_empty());
}

#[test]
#[ignore = "reads the BTF of the running kernel"]
fn functions_and_raw_tracepoints() {
    let system = host();
    let read = system.kernel.function("vfs_read", None).unwrap().expect("a function");
    let names: Vec<&str> = read.params.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["file", "buf", "count", "pos"]);
    assert_eq!((read.ret, read.module), (Type::I64, None));
    assert!(read.btf_id > 0);
    assert_eq!(system.kernel.function("no_such_function", None), Ok(None));
    let switch = system.kernel.raw_tracepoint("sched_switch").unwrap().expect("a tracepoint");
    assert_eq!(switch.params.iter().map(|(_, t)| t.to_string()).nth(1).as_deref(), Some("struct task_struct *"));
    let names: Vec<&str> = switch.params.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["preempt", "prev", "next", "prev_state"]);
    assert!(system.kernel.raw_tracepoints("sched_s*").unwrap().contains(&"sched_switch".to_owned()));
}

#[test]
#[ignore = "reads the BTF of the running kernel"]
fn unknown_types_have_neighbours() {
    let system = host();
    assert_eq!(system.find_type(TypeKind::Struct, "task_strct"), Ok(None));
    assert_eq!(system.nearest_type(TypeKind::Struct, "task_strct").as_deref(), Some("task_struct"));
    assert_eq!(system.nearest_type(TypeKind::Struct, "qqqqqqqqqqqqqqq"), None);
}

#[test]
fn cgroups_that_are_missing() {
    assert!(System::new().kernel.cgroup_id("/no/such/cgroup").is_err());
}
