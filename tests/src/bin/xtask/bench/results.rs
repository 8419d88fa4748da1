//! Where results go.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::build::workspace;

/// A benchmark's outcome, for people and for programs.
#[derive(Debug)]
pub struct Results {
    /// The page, in Markdown.
    pub page: String,
    /// The same figures, and all single ones.
    pub record: Value,
}

impl Results {
    /// Writes `docs/results/NAME.md` and `NAME.json`.
    pub fn write(&self, name: &str) -> Result<()> {
        let dir = workspace().join("docs/results");
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let files = [
            ("md", self.page.clone()),
            ("json", format!("{:#}\n", self.record)),
        ];
        for (extension, text) in files {
            let path = dir.join(name).with_extension(extension);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}
