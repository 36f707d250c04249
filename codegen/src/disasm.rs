pub fn disassemble(_: &[u8]) -> String {
    String::new()
}
