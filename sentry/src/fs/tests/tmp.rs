//! tmpfs.

use super::common::all;
use super::*;

#[test]
fn tmpfs_does_what_a_file_system_does() {
    all(World::tmp());
}

#[test]
fn limits_of_a_tmpfs_hold() {
    let options = Options::parse(b"size=64k,nr_inodes=5,mode=755,uid=3").unwrap();
    assert_eq!(
        (options.size, options.nr_inodes, options.mode),
        (Some(65536), Some(5), 0o755)
    );
    assert_eq!(Options::parse(b"size=abc"), Err(Errno::EINVAL));
    assert_eq!(Options::parse(b"nonsense"), Err(Errno::EINVAL));
    let w = World::on(TmpFs::create(options).unwrap(), None);
    let f = w.open("/f", RW | CREAT).unwrap();
    let block = vec![1u8; 100_000];
    assert_eq!(f.ops.write(&f, 0, &mut SliceSource(&block)), Ok(65536));
    assert_eq!(
        f.ops.write(&f, 65536, &mut SliceSource(&block)),
        Err(Errno::ENOSPC)
    );
    f.ops.truncate(&f, 0).unwrap();
    assert_eq!(f.ops.write(&f, 1 << 20, &mut SliceSource(b"x")), Ok(1));
    for name in ["/a", "/b", "/c"] {
        w.write(name, "").unwrap();
    }
    assert_eq!(w.write("/d", ""), Err(Errno::ENOSPC));
    w.unlink("/a").unwrap();
    w.write("/d", "").unwrap();
    let info = w.env.root.mount.sb().fs.statfs().unwrap();
    assert_eq!((info.files, info.ffree, info.blocks), (5, 0, 16));
}
