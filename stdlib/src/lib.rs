//! Tools and modules written in the language, embedded in the binary so that they are found by name from
//! anywhere. No logic lives here.

/// A script that comes with rtrace.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// File name, as on the command line.
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
