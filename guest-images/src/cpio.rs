//! Archives in cpio's "newc" format, the form in which Linux takes an initramfs.
//!
//! Approach: an [`Archive`] is collected first and written in one go, sorted by path and with all
//! times zero, so the same content always gives the same bytes. Files of the host are read only
//! while it is written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::cache::{CacheError, Fingerprint};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const PERMISSIONS: u32 = 0o7777;

/// Names the end of the archive.
const TRAILER: &str = "TRAILER!!!";

/// Headers and contents start at multiples of this.
const ALIGNMENT: u64 = 4;

/// How much of a host file is held in memory.
const COPY_BYTES: usize = 1 << 20;

/// An archive that could not be made.
#[derive(Debug, Error)]
pub enum CpioError {
    /// A path that cannot stand in an archive.
    #[error("{path:?} cannot be a path in an initramfs: it is empty or has `.`, `..` or NUL in it")]
    Path {
        /// The path.
        path: String,
    },
    /// A path inside a file or another thing that is no directory.
    #[error("/{path} cannot be in the initramfs: /{parent} is not a directory")]
    Parent {
        /// What was to be added.
        path: String,
        /// What stands in the way.
        parent: String,
    },
    /// A file longer than the format's 32-bit lengths.
    #[error("{path} is too large for an initramfs: {len} bytes, 4 GiB is the limit")]
    TooLarge {
        /// The file on the host.
        path: PathBuf,
        /// Its length.
        len: u64,
    },
    /// A file of the host could not be read.
    #[error("cannot read {path}")]
    Host {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive could not be written.
    #[error("cannot write the initramfs")]
    Write(#[source] io::Error),
}

/// What a path in an archive leads to.
#[derive(Debug, Clone)]
enum Node {
    Directory { mode: u32 },
    Bytes { mode: u32, content: Vec<u8> },
    Host { mode: u32, path: PathBuf },
    Symlink { target: String },
    CharacterDevice { mode: u32, major: u32, minor: u32 },
}

/// The content of an initramfs, by path. A leading `/` may be given or left out, missing parents are
/// added, and of two things at one path the later wins.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    nodes: BTreeMap<String, Node>,
}

impl Archive {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory.
    pub fn directory(&mut self, path: &str, mode: u32) -> Result<(), CpioError> {
        self.add(path, Node::Directory { mode })
    }

    /// Adds a file with this content.
    pub fn bytes(
        &mut self,
        path: &str,
        mode: u32,
        content: impl Into<Vec<u8>>,
    ) -> Result<(), CpioError> {
        self.add(
            path,
            Node::Bytes {
                mode,
                content: content.into(),
            },
        )
    }

    /// Adds a file of the host. It is read when the archive is written.
    pub fn host_file(
        &mut self,
        path: &str,
        mode: u32,
        host: impl Into<PathBuf>,
    ) -> Result<(), CpioError> {
        self.add(
            path,
            Node::Host {
                mode,
                path: host.into(),
            },
        )
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), CpioError> {
        self.add(
            path,
            Node::Symlink {
                target: target.to_owned(),
            },
        )
    }

    /// Adds a character device.
    pub fn character_device(
        &mut self,
        path: &str,
        mode: u32,
        major: u32,
        minor: u32,
    ) -> Result<(), CpioError> {
        self.add(path, Node::CharacterDevice { mode, major, minor })
    }

    fn add(&mut self, path: &str, node: Node) -> Result<(), CpioError> {
        let name = path.strip_prefix('/').unwrap_or(path);
        let valid = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
        if !name.split('/').all(valid) || name == TRAILER {
            return Err(CpioError::Path {
                path: path.to_owned(),
            });
        }
        for (end, _) in name.match_indices('/') {
            let parent = &name[..end];
            match self.nodes.get(parent) {
                Some(Node::Directory { .. }) => {}
                Some(_) => {
                    return Err(CpioError::Parent {
                        path: name.to_owned(),
                        parent: parent.to_owned(),
                    });
                }
                None => {
                    self.nodes
                        .insert(parent.to_owned(), Node::Directory { mode: 0o755 });
                }
            }
        }
        let inside = format!("{name}/");
        let child = self
            .nodes
            .range(inside.clone()..)
            .next()
            .map(|(child, _)| child);
        match child.filter(|child| child.starts_with(&inside)) {
            Some(child) if !matches!(node, Node::Directory { .. }) => Err(CpioError::Parent {
                path: child.clone(),
                parent: name.to_owned(),
            }),
            _ => {
                self.nodes.insert(name.to_owned(), node);
                Ok(())
            }
        }
    }

    /// Adds the whole content to a fingerprint.
    pub(crate) fn fingerprint(&self, mut all: Fingerprint) -> Result<Fingerprint, CacheError> {
        for (name, node) in &self.nodes {
            let (kind, mode) = match node {
                Node::Directory { mode } => ("directory", *mode),
                Node::Bytes { mode, .. } | Node::Host { mode, .. } => ("file", *mode),
                Node::Symlink { .. } => ("symlink", 0),
                Node::CharacterDevice { mode, .. } => ("character device", *mode),
            };
            all = all.field("path", name).field(kind, mode.to_le_bytes());
            all = match node {
                Node::Directory { .. } => all,
                Node::Bytes { content, .. } => all.content("content", content),
                Node::Host { path, .. } => all.file("content", path)?,
                Node::Symlink { target } => all.field("target", target),
                Node::CharacterDevice { major, minor, .. } => all
                    .field("major", major.to_le_bytes())
                    .field("minor", minor.to_le_bytes()),
            };
        }
        Ok(all)
    }

    /// Writes the archive.
    pub fn write_to(&self, out: impl Write) -> Result<(), CpioError> {
        let mut writer = Writer { out, offset: 0 };
        for (index, (name, node)) in self.nodes.iter().enumerate() {
            // Two entries with one inode number would be hard links.
            writer.node(name, index as u64 + 1, node)?;
        }
        writer.header(
            TRAILER,
            &Header {
                links: 1,
                ..Header::default()
            },
        )?;
        writer.out.flush().map_err(CpioError::Write)
    }
}

/// The fields of an entry's header that vary.
#[derive(Debug, Clone, Copy, Default)]
struct Header {
    inode: u64,
    mode: u32,
    links: u32,
    size: u64,
    device: (u32, u32),
}

struct Writer<W> {
    out: W,
    offset: u64,
}

impl<W: Write> Writer<W> {
    fn node(&mut self, name: &str, inode: u64, node: &Node) -> Result<(), CpioError> {
        let header = Header {
            inode,
            links: 1,
            ..Header::default()
        };
        match node {
            Node::Directory { mode } => {
                let mode = DIRECTORY | mode & PERMISSIONS;
                self.header(
                    name,
                    &Header {
                        mode,
                        links: 2,
                        ..header
                    },
                )
            }
            Node::CharacterDevice { mode, major, minor } => {
                let mode = CHARACTER_DEVICE | mode & PERMISSIONS;
                self.header(
                    name,
                    &Header {
                        mode,
                        device: (*major, *minor),
                        ..header
                    },
                )
            }
            Node::Symlink { target } => {
                let mode = SYMLINK | 0o777;
                self.header(
                    name,
                    &Header {
                        mode,
                        size: target.len() as u64,
                        ..header
                    },
                )?;
                self.padded(target.as_bytes())
            }
            Node::Bytes { mode, content } => {
                let mode = REGULAR | mode & PERMISSIONS;
                self.header(
                    name,
                    &Header {
                        mode,
                        size: content.len() as u64,
                        ..header
                    },
                )?;
                self.padded(content)
            }
            Node::Host { mode, path } => self.host_file(
                name,
                Header {
                    mode: REGULAR | mode & PERMISSIONS,
                    ..header
                },
                path,
            ),
        }
    }

    fn host_file(&mut self, name: &str, header: Header, path: &Path) -> Result<(), CpioError> {
        let failed = |source| CpioError::Host {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        if u32::try_from(len).is_err() {
            return Err(CpioError::TooLarge {
                path: path.to_owned(),
                len,
            });
        }
        self.header(
            name,
            &Header {
                size: len,
                ..header
            },
        )?;
        // The length is written already: a file that grows is cut, one that shrinks is an error.
        let mut content = file.take(len);
        let mut buffer = vec![0; COPY_BYTES];
        while content.limit() > 0 {
            match content.read(&mut buffer) {
                Ok(0) => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => self.put(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        self.align()
    }

    fn header(&mut self, name: &str, header: &Header) -> Result<(), CpioError> {
        let (major, minor) = header.device;
        let fields = [
            header.inode,
            header.mode.into(),
            0, // uid
            0, // gid
            header.links.into(),
            0, // time
            header.size,
            0, // major and minor of the device that the entry is on
            0,
            major.into(),
            minor.into(),
            name.len() as u64 + 1,
            0, // checksum, unused in this variant
        ];
        let mut text = String::from("070701");
        for field in fields {
            text.push_str(&format!("{field:08X}"));
        }
        text.push_str(name);
        text.push('\0');
        self.padded(text.as_bytes())
    }

    fn padded(&mut self, bytes: &[u8]) -> Result<(), CpioError> {
        self.put(bytes)?;
        self.align()
    }

    fn align(&mut self) -> Result<(), CpioError> {
        let padding = self.offset.next_multiple_of(ALIGNMENT) - self.offset;
        self.put(&[0; ALIGNMENT as usize][..padding as usize])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), CpioError> {
        self.out.write_all(bytes).map_err(CpioError::Write)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
