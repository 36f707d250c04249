//! Tools and modules written in the language, embedded in the binary so that they are found by name from
//! anywhere. No logic lives here.

/// A script or a module that comes with rtrace.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// As on the command line, or in an import.
    pub name: &'static str,
    pub text: &'static str,
}

/// All tools, by name.
pub const TOOLS: &[Tool] = &[
    Tool { name: "dropwatch.rt", text: include_str!("../tools/dropwatch.rt") },
    Tool { name: "execsnoop.rt", text: include_str!("../tools/execsnoop.rt") },
];

/// The text of a tool, named with or without its ending.
pub fn tool(name: &str) -> Option<&'static str> {
    TOOLS.iter().find(|t| t.name == name || t.name.strip_suffix(".rt") == Some(name)).map(|t| t.text)
}

/// The builtins that the language says itself.
pub const PRELUDE: &str = include_str!("../prelude.rt");

/// Modules that scripts import by name: `import "net"`.
pub const MODULES: &[Tool] = &[Tool { name: "net", text: include_str!("../lib/net.rt") }];

/// The text of a module.
pub fn module(name: &str) -> Option<&'static str> {
    MODULES.iter().find(|m| m.name == name).map(|m| m.text)
}
