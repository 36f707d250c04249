#!/usr/bin/env bash
# What cpp_demangle prints for everyday C++ names, against c++filt of binutils.
#
# Guess before running: cpp_demangle (the demangler of blazesym, addr2line and most profilers written in Rust) prints the
# types that c++filt prints; at most the spacing of "> >" differs.
#
# Seen with cpp_demangle 0.5.1 (0.3.5, 0.4.0 and 0.4.5 alike) and binutils 2.40:
#   - a reference, pointer or const to a nested type that is spelt by a substitution has its qualifier in the middle:
#     n::f(n::A&, n::A::B&) becomes n::f(n::A&, n::A&::B), which is another type, and no type of C++;
#   - an empty parameter pack leaves its comma: M<A, >;
#   - a constructor template loses its first parameter;
#   - unsigned template arguments are casts, (unsigned int)8 and not 8u; tables of classes are {vtable(X)}.
# Of the 43,920 C++ names that libstdc++ (GCC 12) and libLLVM (14) of Debian 12 export, 5,941 differ.
#
# Needs cargo, and a registry. Exits with 1 if what is printed has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "seen"
version = "0.0.0"
edition = "2021"
[dependencies]
cpp_demangle = "=0.5.1"
TOML
cat > src/main.rs <<'RUST'
fn main() {
    for name in std::env::args().skip(1) {
        println!("{}", cpp_demangle::Symbol::new(&name).unwrap().demangle().unwrap());
    }
}
RUST
cargo build --quiet
seen=$(target/debug/seen \
  _ZN1n1fERNS_1AERNS0_1BERNS0_1CE \
  _ZN1n1iERNS_1AERNS0_1BERNS_1MIS0_JEEE \
  _ZNSsC2IPKcEET_S2_RKSaIcE \
  _ZN1n1SILj8EE1fEv \
  _ZTVN1n1VE)
# c++filt: n::f(n::A&, n::A::B&, n::A::C&)
#          n::i(n::A&, n::A::B&, n::M<n::A>&)
#          std::string::basic_string<char const*>(char const*, char const*, std::allocator<char> const&), std::string in full
#          n::S<8u>::f()
#          vtable for n::V
expected='n::f(n::A&, n::A&::B, n::A&::C)
n::i(n::A&, n::A&::B, n::M<n::A, >&)
std::string::string<char const*>(char const*, std::allocator<char> const&)
n::S<(unsigned int)8>::f()
{vtable(n::V)}'
echo "$seen"
if [ "$seen" != "$expected" ]; then
  echo "cpp_demangle prints something else now" >&2
  exit 1
fi
