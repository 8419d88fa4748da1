//! A tree of kernel modules: its index files, and what a module needs.
//!
//! Problem: the package holds modules as they were built. `depmod`, which an installation runs,
//! writes the indexes without which neither `modprobe` nor we know what a module needs; it is not
//! installed everywhere, and newer Debian releases compress modules, which a small init cannot undo.
//!
//! Approach: unpack all modules and write `modules.dep`, `modules.softdep` and `modules.alias` from
//! each module's `.modinfo` section. Both `modprobe`s (kmod's and BusyBox's) read these text files.
//!
//! Terms: a module *depends* on those whose symbols it uses; a *soft* dependency ought to be there
//! first if it exists, and is often named by an alias.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection};
use thiserror::Error;

use crate::tool::{GZIP, Tool, ToolError, XZ, ZSTD};

/// How many files a tool gets at once, well below the limit on arguments.
const FILES_PER_CALL: usize = 500;

/// A module tree that cannot be used.
#[derive(Debug, Error)]
pub enum ModulesError {
    /// The kernel has no such module, neither loadable nor built in.
    #[error("the kernel has no module {name}")]
    Unknown {
        /// The module's name.
        name: String,
    },
    /// A module whose information cannot be read.
    #[error("{path} is not a kernel module")]
    NotModule {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: object::Error,
    },
    /// A module needs one that the tree does not have.
    #[error("module {module} needs {missing}, which the kernel's package does not have")]
    Incomplete {
        /// The module.
        module: String,
        /// What it needs.
        missing: String,
    },
    /// Modules need each other.
    #[error("module {module} depends on itself")]
    Circular {
        /// One of them.
        module: String,
    },
    /// A compressed module could not be unpacked.
    #[error("cannot unpack the kernel's modules")]
    Unpack(#[from] ToolError),
    /// The host's file system failed.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried: a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl ModulesError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// What a module says about itself, with names in their canonical form.
#[derive(Debug, Default)]
struct Info {
    /// Relative to the tree.
    path: String,
    depends: Vec<String>,
    before: Vec<String>,
    aliases: Vec<String>,
}

/// Makes a module tree from a package ready for use: unpacked and indexed.
pub(crate) fn prepare(dir: &Path) -> Result<(), ModulesError> {
    unpack(dir)?;
    let mut modules = BTreeMap::new();
    for path in files(dir)? {
        if path.extension().is_some_and(|extension| extension == "ko") {
            modules.insert(module_name(&path), info(dir, &path)?);
        }
    }
    let mut dep = String::new();
    let mut softdep = String::new();
    let mut alias = String::new();
    for (name, info) in &modules {
        let mut needed = Vec::new();
        let mut open = BTreeSet::new();
        dependencies(&modules, name, &mut open, &mut needed)?;
        // The module itself comes last; the file names the module first and then, from right to
        // left, what is loaded before it.
        let paths: Vec<&str> = needed
            .iter()
            .rev()
            .skip(1)
            .map(|name| modules[name].path.as_str())
            .collect();
        let space = if paths.is_empty() { "" } else { " " };
        dep.push_str(&format!("{}:{space}{}\n", info.path, paths.join(" ")));
        if !info.before.is_empty() {
            softdep.push_str(&format!("softdep {name} pre: {}\n", info.before.join(" ")));
        }
        for pattern in &info.aliases {
            alias.push_str(&format!("alias {pattern} {name}\n"));
        }
    }
    for (file, text) in [
        ("modules.dep", dep),
        ("modules.softdep", softdep),
        ("modules.alias", alias),
    ] {
        let path = dir.join(file);
        fs::write(&path, text).map_err(ModulesError::io("write", &path))?;
    }
    Ok(())
}

/// Appends `name` and what it needs to `order`, each after all that it needs itself. `open` holds
/// the modules on the way here.
fn dependencies(
    modules: &BTreeMap<String, Info>,
    name: &str,
    open: &mut BTreeSet<String>,
    order: &mut Vec<String>,
) -> Result<(), ModulesError> {
    if order.iter().any(|done| done == name) {
        return Ok(());
    }
    if !open.insert(name.to_owned()) {
        return Err(ModulesError::Circular {
            module: name.to_owned(),
        });
    }
    for needed in &modules[name].depends {
        if !modules.contains_key(needed) {
            let (module, missing) = (name.to_owned(), needed.clone());
            return Err(ModulesError::Incomplete { module, missing });
        }
        dependencies(modules, needed, open, order)?;
    }
    order.push(name.to_owned());
    Ok(())
}

/// Unpacks all compressed modules in place.
fn unpack(dir: &Path) -> Result<(), ModulesError> {
    let mut packed: BTreeMap<&str, Vec<PathBuf>> = BTreeMap::new();
    for path in files(dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        for end in ["gz", "xz", "zst"] {
            if name.ends_with(&format!(".ko.{end}")) {
                packed.entry(end).or_default().push(path.clone());
            }
        }
    }
    for (end, paths) in packed {
        let (tool, options): (Tool, &[&str]) = match end {
            "gz" => (GZIP, &["-d"]),
            "xz" => (XZ, &["-d"]),
            _ => (ZSTD, &["-d", "-q", "--rm"]),
        };
        for some in paths.chunks(FILES_PER_CALL) {
            tool.output(tool.command().args(options).arg("--").args(some))?;
        }
    }
    Ok(())
}

/// All files below `dir`, sorted.
fn files(dir: &Path) -> Result<Vec<PathBuf>, ModulesError> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for item in fs::read_dir(&dir).map_err(ModulesError::io("list", &dir))? {
            let item = item.map_err(ModulesError::io("list", &dir))?;
            let path = item.path();
            match item
                .file_type()
                .map_err(ModulesError::io("look at", &path))?
            {
                kind if kind.is_dir() => dirs.push(path),
                kind if kind.is_file() => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a module's `.modinfo` section: `key=value` strings, each ended by NUL.
fn info(dir: &Path, path: &Path) -> Result<Info, ModulesError> {
    let data = fs::read(path).map_err(ModulesError::io("read", path))?;
    let section = object::File::parse(data.as_slice())
        .and_then(|file| match file.section_by_name(".modinfo") {
            Some(section) => section.data().map(<[u8]>::to_vec),
            None => Ok(Vec::new()),
        })
        .map_err(|source| ModulesError::NotModule {
            path: path.to_owned(),
            source,
        })?;
    let relative = path.strip_prefix(dir).unwrap_or(path);
    let mut info = Info {
        path: relative.to_string_lossy().into_owned(),
        ..Info::default()
    };
    for entry in section.split(|&byte| byte == 0) {
        let entry = String::from_utf8_lossy(entry);
        match entry.split_once('=') {
            Some(("depends", names)) => {
                info.depends = names
                    .split(',')
                    .filter(|name| !name.is_empty())
                    .map(canonical)
                    .collect();
            }
            Some(("softdep", rules)) => info.before.extend(before(rules)),
            // An alias with a space would be two words in the index.
            Some(("alias", pattern)) if !pattern.contains(char::is_whitespace) => {
                info.aliases.push(pattern.to_owned());
            }
            _ => {}
        }
    }
    Ok(info)
}

/// The names after `pre:` in a soft dependency such as `pre: a b post: c`.
fn before(rules: &str) -> impl Iterator<Item = String> {
    let mut wanted = false;
    rules.split_whitespace().filter_map(move |word| match word {
        "pre:" | "post:" => {
            wanted = word == "pre:";
            None
        }
        name => wanted.then(|| name.to_owned()),
    })
}

/// A module's name in the form in which names are compared.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The canonical name of the module in this file.
fn module_name(path: &Path) -> String {
    canonical(&path.file_stem().unwrap_or_default().to_string_lossy())
}

/// The indexes of a prepared tree, in memory.
#[derive(Debug, Default)]
pub struct Index {
    dir: PathBuf,
    /// Per loadable module the files to load, itself last, relative to the tree.
    loads: HashMap<String, Vec<String>>,
    before: HashMap<String, Vec<String>>,
    aliases: HashMap<String, Vec<String>>,
    builtin: BTreeSet<String>,
}

impl Index {
    /// Reads the index files of the tree in `dir`.
    pub fn read(dir: &Path) -> Result<Self, ModulesError> {
        let text = |file| {
            let path = dir.join(file);
            fs::read_to_string(&path).map_err(ModulesError::io("read", &path))
        };
        let mut index = Self {
            dir: dir.to_owned(),
            ..Self::default()
        };
        for line in text("modules.dep")?.lines() {
            let Some((path, needed)) = line.split_once(':') else {
                continue;
            };
            let mut loads: Vec<String> =
                needed.split_whitespace().rev().map(str::to_owned).collect();
            loads.push(path.to_owned());
            index.loads.insert(module_name(Path::new(path)), loads);
        }
        for line in text("modules.softdep")?.lines() {
            let mut words = line.split_whitespace().skip(1);
            let Some(name) = words.next() else { continue };
            index
                .before
                .insert(name.to_owned(), words.skip(1).map(str::to_owned).collect());
        }
        for line in text("modules.alias")?.lines() {
            if let [_, alias, name] = line.split(' ').collect::<Vec<_>>()[..] {
                index
                    .aliases
                    .entry(alias.to_owned())
                    .or_default()
                    .push(name.to_owned());
            }
        }
        let builtin = text("modules.builtin")?;
        index.builtin = builtin
            .lines()
            .map(|path| module_name(Path::new(path)))
            .collect();
        Ok(index)
    }

    /// The files of these modules and of all that they need, in load order.
    pub fn closure(&self, names: &[&str]) -> Result<Vec<PathBuf>, ModulesError> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in names {
            let name = canonical(name);
            if self.loads.contains_key(&name) {
                self.load(&name, &mut seen, &mut order);
            } else if !self.builtin.contains(&name) {
                return Err(ModulesError::Unknown { name });
            }
        }
        Ok(order.iter().map(|path| self.dir.join(path)).collect())
    }

    /// Appends what loading `name` takes, each module after what it needs. Unlike dependencies, soft
    /// ones may be circular, so `seen` holds all modules that are in the order or about to be.
    fn load(&self, name: &str, seen: &mut BTreeSet<String>, order: &mut Vec<String>) {
        if !seen.insert(name.to_owned()) {
            return;
        }
        for path in self.loads.get(name).into_iter().flatten() {
            let module = module_name(Path::new(path));
            if module != name {
                self.load(&module, seen, order);
                continue;
            }
            for wanted in self.before.get(name).into_iter().flatten() {
                for soft in self.providers(wanted) {
                    if !self.waits_for(&soft, seen, order) {
                        self.load(&soft, seen, order);
                    }
                }
            }
            order.push(path.clone());
        }
    }

    /// Whether `name` needs a module that is itself still waiting to be loaded. Then it cannot come
    /// first, and is no help.
    fn waits_for(&self, name: &str, seen: &BTreeSet<String>, order: &[String]) -> bool {
        let mut loads = self.loads.get(name).into_iter().flatten();
        loads.any(|path| seen.contains(&module_name(Path::new(path))) && !order.contains(path))
    }

    /// The loadable modules that a soft dependency means: the one of that name, or all with that
    /// alias.
    fn providers(&self, wanted: &str) -> Vec<String> {
        let name = canonical(wanted);
        if self.loads.contains_key(&name) {
            return vec![name];
        }
        self.aliases.get(wanted).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
