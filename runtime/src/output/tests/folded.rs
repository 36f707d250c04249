//! `-f folded`: stacks a line each, and everything else on standard error.

use super::*;

const FOLDED: Options = Options { form: &crate::output::folded::FORM, ..TEXT };

/// Maps of a script, and what standard error has.
fn folded(defs: Vec<(MapDef, Vec<Entry>)>) -> (String, String) {
    let (mut bundle, mut fake) = (bundle(), Fake::default());
    fake.stacks.insert(77, vec![0x1000, 0x2000]);
    fake.stacks.insert(78, vec![0xa, 0xb]);
    for (index, (def, entries)) in (0..).zip(defs) {
        bundle.maps.push(def);
        fake.entries.insert(index, entries);
    }
    shown_on(&bundle, FOLDED, false, |p| p.maps(&fake).unwrap())
}

fn stored(user: bool) -> Type {
    Type::Stack(StackType { user, mode: StackMode::Raw, depth: 8, stored: true })
}

#[test]
fn kernel_frames_lie_in_those_of_the_program() {
    let key = Type::Tuple(vec![stored(false), stored(true), Type::String { cap: 8 }]);
    let bytes = |comm: &[u8; 8]| [&words(&[77, 0, 78, 5])[..], comm].concat();
    let entries = vec![(bytes(b"sh;a\nb\0\0"), words(&[3])), (bytes(b"\0\0\0\0\0\0\0\0"), words(&[4]))];
    let (out, errors) = folded(vec![(map("@", Some(key), Type::Agg(Agg::Count)), entries)]);
    assert_eq!(out, "sh:a b;b;a;2000;1000 3\nb;a;2000;1000 4\n");
    assert_eq!(errors, "");
}

#[test]
fn addresses_without_a_name_are_one_frame() {
    let ty = Type::Stack(StackType { user: true, mode: StackMode::Bpftrace, depth: 8, stored: true });
    let none = (words(&[0, u64::from(u32::MAX - 1)]), words(&[1]));
    let unknown = (words(&[77, u64::from(u32::MAX - 1)]), words(&[2]));
    let (out, _) = folded(vec![(map("@", Some(ty), Type::Agg(Agg::Count)), vec![none, unknown])]);
    assert_eq!(out, "[no stack] 1\n[unknown];[unknown] 2\n");
}

#[test]
fn amounts() {
    let one = |value: Type, bytes: Vec<u8>| folded(vec![(map("@n", None, value), vec![(vec![], bytes)])]);
    assert_eq!(one(Type::U64, words(&[5])).0, "@n 5\n");
    assert_eq!(one(Type::Agg(Agg::Avg { signed: true }), words(&[9, 2])).0, "@n 4\n");
    assert_eq!(one(Type::Agg(Agg::Stats { signed: true }), words(&[9, 2])).0, "@n 9\n");
    let agg = Agg::Lhist { min: 0, max: 30, step: 10 };
    let mut counts = vec![0; agg.words() as usize];
    (counts[1], counts[3]) = (2, 4);
    assert_eq!(one(Type::Agg(agg), words(&counts)).0, "@n;[0, 10) 2\n@n;[20, 30) 4\n");
    assert_eq!(one(Type::U64, words(&[0])), (String::new(), String::new()));
    let (out, errors) = one(Type::I64, (-5i64).to_le_bytes().to_vec());
    assert_eq!(
        (out.as_str(), errors.as_str()),
        ("", "WARNING: 1 entries of @n are not printed: their values are negative\n")
    );
    let (out, errors) = one(Type::String { cap: 2 }, b"x\0".to_vec());
    assert_eq!((out.as_str(), errors.as_str()), ("", "WARNING: @n is not printed: its values are not numbers\n"));
}

#[test]
fn several_maps_are_kept_apart() {
    let of = |name: &str| (map(name, Some(Type::I32), Type::U64), keyed([(1, 10)]));
    assert_eq!(folded(vec![of("@a")]).0, "1 10\n");
    assert_eq!(folded(vec![of("@a"), of("@b")]).0, "@a;1 10\n@b;1 10\n");
}

#[test]
fn what_is_not_a_stack_goes_to_standard_error() {
    let raw = StackType { user: false, mode: StackMode::Raw, depth: 8, stored: false };
    let stack = event(Action::PrintValue, vec![Type::Stack(raw)]);
    let number = event(Action::PrintValue, vec![Type::U8]);
    let (out, errors) = shown(FOLDED, |p| {
        p.report(&Report::Attached(1)).unwrap();
        show(p, &printf_event("%d\n", vec![Type::U8]), &[&[7]], &Fake::default());
        show(p, &stack, &[&words(&[0x10, 0x20])], &Fake::default());
        show(p, &number, &[&[8]], &Fake::default());
        p.finish(None).unwrap();
    });
    assert_eq!(out, "20;10 1\n");
    assert_eq!(errors, "Attached 1 probe\n7\n8\n");
}
