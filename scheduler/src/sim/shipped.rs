//! The scenarios that come with the program, by name.

/// A scenario that comes with the program.
#[derive(Debug, Clone, Copy)]
pub struct Shipped {
    /// What it is called: its file's name without the ending.
    pub name: &'static str,
    /// The file's text.
    pub text: &'static str,
}

/// All of them, by name.
pub const SHIPPED: &[Shipped] = &[];

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Shipped> {
    SHIPPED.iter().find(|shipped| shipped.name == name)
}
