#!/usr/bin/env bash
# Which valid .xz files lzma-rs reads (as .gnu_debugdata, Fedora's compressed symbol table, is one).
#
# Guess before running: xz_decompress of lzma-rs reads whatever `xz -d` reads, or at least says before writing that it
# cannot.
#
# Seen with lzma-rs 0.3.0 and xz 5.4:
#   - two streams, one after the other (`cat a.xz b.xz`), and a stream with the padding that the format allows, are errors
#     that come AFTER the first stream has been written whole;
#   - streams with a SHA-256 check, and all filters other than LZMA2 (x86, delta), are errors at once;
#   - several blocks, threads, no check, CRC32 and CRC64 are read.
#
# Needs cargo, a registry, and xz. Exits with 1 if what is printed has changed.
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
lzma-rs = "=0.3.0"
TOML
cat > src/main.rs <<'RUST'
fn main() {
    for file in std::env::args().skip(1) {
        let data = std::fs::read(&file).unwrap();
        let mut out = Vec::new();
        let result = lzma_rs::xz_decompress(&mut &data[..], &mut out);
        println!("{file}: {}, {} bytes", if result.is_ok() { "ok" } else { "error" }, out.len());
    }
}
RUST
cargo build --quiet
seq 1 1000 > numbers
xz -c numbers > one.xz
cat one.xz one.xz > two.xz
{ cat one.xz; head -c 8 /dev/zero; } > padded.xz
xz -c --check=sha256 numbers > sha256.xz
xz -c --x86 --lzma2 numbers > x86.xz
xz -c -T2 --block-size=1000 numbers > blocks.xz
xz -c --check=none numbers > unchecked.xz
for file in *.xz; do
  xz -t "$file"
done
seen=$(target/debug/seen one.xz two.xz padded.xz sha256.xz x86.xz blocks.xz unchecked.xz)
expected='one.xz: ok, 3893 bytes
two.xz: error, 3893 bytes
padded.xz: error, 3893 bytes
sha256.xz: error, 0 bytes
x86.xz: error, 0 bytes
blocks.xz: ok, 3893 bytes
unchecked.xz: ok, 3893 bytes'
echo "$seen"
if [ "$seen" != "$expected" ]; then
  echo "lzma-rs reads something else now" >&2
  exit 1
fi
