//! Trees of made-up files whose names don't change: sysfs, cgroup2.

use super::pseudo::{Directory, Entry, Node, Symlink, Text, name_ino};
use crate::kernel::Kernel;
use crate::vfs::attr::{Dev, FileType};
use crate::vfs::inode::InodeRef;
use crate::vfs::walk::Env;
use arch::{Errno, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// The root's inode number.
const ROOT_INO: u64 = 1;

type Make = Box<dyn Fn(&Kernel) -> Result<String> + Send + Sync>;
type Store = Box<dyn Fn(&Kernel, &[u8]) -> Result<()> + Send + Sync>;

enum Item {
    Dir(BTreeMap<Vec<u8>, Item>),
    File { make: Make, store: Option<Store> },
    Link(String),
}

/// A tree to be.
pub struct Tree {
    root: BTreeMap<Vec<u8>, Item>,
    file_size: u64,
}

impl Tree {
    /// An empty one. stat(2) says `file_size` of every file.
    pub fn new(file_size: u64) -> Self {
        let root = BTreeMap::new();
        Self { root, file_size }
    }

    fn put(&mut self, path: &str, item: Item) {
        let mut at = &mut self.root;
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            let name = name.as_bytes().to_vec();
            if names.peek().is_none() {
                // A directory that is there already keeps what is in it.
                match (at.get(&name), &item) {
                    (Some(Item::Dir(_)), Item::Dir(_)) => {}
                    _ => drop(at.insert(name, item)),
                }
                return;
            }
            let next = at.entry(name).or_insert_with(|| Item::Dir(BTreeMap::new()));
            let Item::Dir(below) = next else { return };
            at = below;
        }
    }

    /// A directory. Those above it are made, here and everywhere.
    pub fn dir(&mut self, path: &str) {
        self.put(path, Item::Dir(BTreeMap::new()));
    }

    /// A file that says `text` and a newline.
    pub fn text(&mut self, path: &str, text: impl Into<String>) {
        let text = text.into() + "\n";
        self.made(path, move |_| text.clone());
    }

    /// A file that says what `make` returns.
    pub fn made(&mut self, path: &str, make: impl Fn(&Kernel) -> String + Send + Sync + 'static) {
        self.tried(path, move |k| Ok(make(k)));
    }

    /// A file that says what `make` returns, which may fail.
    pub fn tried(
        &mut self,
        path: &str,
        make: impl Fn(&Kernel) -> Result<String> + Send + Sync + 'static,
    ) {
        let make = Box::new(make);
        self.put(path, Item::File { make, store: None });
    }

    /// A file that can be written too.
    pub fn stored(
        &mut self,
        path: &str,
        make: impl Fn(&Kernel) -> String + Send + Sync + 'static,
        store: impl Fn(&Kernel, &[u8]) -> Result<()> + Send + Sync + 'static,
    ) {
        let make: Make = Box::new(move |k| Ok(make(k)));
        let store: Option<Store> = Some(Box::new(store));
        self.put(path, Item::File { make, store });
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, target: impl Into<String>) {
        self.put(path, Item::Link(target.into()));
    }

    /// The inode of the root.
    pub fn plant(self, dev: Dev, kernel: &Arc<Kernel>) -> InodeRef {
        let soil = Soil {
            dev,
            kernel: Arc::downgrade(kernel),
            file_size: self.file_size,
        };
        soil.dir(ROOT_INO, self.root)
    }
}

struct Soil {
    dev: Dev,
    kernel: Weak<Kernel>,
    file_size: u64,
}

impl Soil {
    fn dir(&self, ino: u64, items: BTreeMap<Vec<u8>, Item>) -> InodeRef {
        let mut entries = BTreeMap::new();
        for (name, item) in items {
            let inode = self.inode(name_ino(ino, &name), item);
            entries.insert(name, inode);
        }
        Node::dir(self.dev, ino, 0o755, FixedDir { entries })
    }

    fn inode(&self, ino: u64, item: Item) -> InodeRef {
        match item {
            Item::Dir(below) => self.dir(ino, below),
            Item::Link(target) => Node::link(self.dev, ino, FixedLink(target)),
            Item::File { make, store } => {
                let mode = if store.is_some() { 0o644 } else { 0o444 };
                let file = FixedFile {
                    kernel: self.kernel.clone(),
                    make,
                    store,
                    size: self.file_size,
                };
                Node::text(self.dev, ino, mode, file)
            }
        }
    }
}

struct FixedDir {
    entries: BTreeMap<Vec<u8>, InodeRef>,
}

impl Directory for FixedDir {
    fn lookup(&self, _env: &Env<'_>, name: &[u8]) -> Result<InodeRef> {
        self.entries.get(name).cloned().ok_or(Errno::ENOENT)
    }

    fn list(&self, _env: &Env<'_>) -> Result<Vec<Entry>> {
        Ok(self
            .entries
            .iter()
            .map(|(name, inode)| Entry::new(name.clone(), inode.file_type()))
            .collect())
    }

    fn nlink(&self) -> u64 {
        let dirs = self.entries.values();
        2 + dirs
            .filter(|i| i.file_type() == FileType::Directory)
            .count() as u64
    }
}

struct FixedFile {
    kernel: Weak<Kernel>,
    make: Make,
    store: Option<Store>,
    size: u64,
}

impl FixedFile {
    fn kernel(&self) -> Result<Arc<Kernel>> {
        self.kernel.upgrade().ok_or(Errno::ENODEV)
    }
}

impl Text for FixedFile {
    /// Writing what can't be written is EACCES for root too (kernfs_fop_open).
    fn open(&self, _env: &Env<'_>, flags: u32) -> Result<()> {
        let writes = flags as i32 & libc::O_ACCMODE != libc::O_RDONLY;
        if writes && self.store.is_none() {
            return Err(Errno::EACCES);
        }
        Ok(())
    }

    fn read(&self, _env: &Env<'_>) -> Result<Vec<u8>> {
        (self.make)(&*self.kernel()?).map(String::into_bytes)
    }

    fn write(&self, _env: &Env<'_>, data: &[u8]) -> Result<()> {
        match &self.store {
            Some(store) => store(&*self.kernel()?, data),
            None => Err(Errno::EIO),
        }
    }

    fn size(&self) -> u64 {
        self.size
    }
}

struct FixedLink(String);

impl Symlink for FixedLink {
    fn text(&self, _env: &Env<'_>) -> Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
    }
}

/// CPUs of a mask as sysfs lists them: `0-1,4`.
pub fn cpu_list(cpus: &[usize]) -> String {
    let mut out = String::new();
    let mut at = 0;
    while at < cpus.len() {
        let start = cpus[at];
        while at + 1 < cpus.len() && cpus[at + 1] == cpus[at] + 1 {
            at += 1;
        }
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(&start.to_string());
        if cpus[at] != start {
            out.push('-');
            out.push_str(&cpus[at].to_string());
        }
        at += 1;
    }
    out
}

/// CPUs as a mask of `count` bits in hexadecimal, in groups of 32 bits.
pub fn cpu_mask(cpus: &[usize], count: usize) -> String {
    let groups = count.max(1).div_ceil(32);
    let mut words = vec![0u32; groups];
    for cpu in cpus {
        if let Some(word) = words.get_mut(cpu / 32) {
            *word |= 1 << (cpu % 32);
        }
    }
    let top_digits = (count.max(1) - (groups - 1) * 32).div_ceil(4);
    let mut out = String::new();
    for (n, word) in words.iter().rev().enumerate() {
        if n == 0 {
            out.push_str(&format!("{word:0top_digits$x}"));
        } else {
            out.push_str(&format!(",{word:08x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_listed_and_masked() {
        assert_eq!(cpu_list(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(cpu_list(&[]), "");
        assert_eq!(cpu_mask(&[0, 1], 2), "3");
        assert_eq!(cpu_mask(&[4], 6), "10");
        assert_eq!(cpu_mask(&[0, 33], 40), "02,00000001");
        assert_eq!(cpu_mask(&[33], 64), "00000002,00000000");
    }
}
