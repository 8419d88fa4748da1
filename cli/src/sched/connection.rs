//! Which node manager is asked, and what its refusals mean for the exit status.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use muster_node::{Client, ClientError, directory};
use muster_vmm::node_link;

use crate::UsageError;

/// An option of every command that asks.
#[derive(Debug, Args)]
pub struct NodeArg {
    /// The directory with the node manager's sockets [default: this user's own]
    #[arg(long = "node", value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl NodeArg {
    /// A way to ask it.
    pub fn client(&self) -> Result<Client> {
        let path = match &self.directory {
            Some(path) => path.clone(),
            None => {
                let usual = node_link::directory();
                // Whoever could put a socket there could tell us anything. One who names a
                // directory knows whose it is.
                if usual.exists() {
                    directory::check(&usual)?;
                }
                usual
            }
        };
        Client::new(&path).context("cannot wait for answers")
    }
}

/// A wrong name or number is the user's mistake, as if the command line itself were wrong.
pub fn answered<T>(answer: Result<T, ClientError>) -> Result<T> {
    answer.map_err(|error| match error {
        ClientError::Senseless(message) => UsageError(message).into(),
        error => error.into(),
    })
}
