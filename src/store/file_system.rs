use std::io;
use std::path::Path;

/// What the job table lies on, as far as SQLite has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// Of this machine alone.
    Local,
    /// Other machines may have it too; its name.
    Network(&'static str),
}

impl FileSystem {
    /// What a file or folder lies on.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn of(path: &Path) -> io::Result<FileSystem> {
        let kind = rustix::fs::statfs(path)?.f_type;
        Ok(FileSystem::of_kind(kind.cast_unsigned()))
    }

    /// By the number with which statfs(2) names a kind. What user space provides (FUSE) counts as a network's: it may be
    /// sshfs or GlusterFS, and to be careful costs little.
    fn of_kind(kind: u64) -> FileSystem {
        match kind {
            0x6969 => FileSystem::Network("NFS"),
            0x0bd0_0bd0 => FileSystem::Network("Lustre"),
            0x4750_4653 => FileSystem::Network("GPFS"),
            0x1983_0326 => FileSystem::Network("BeeGFS"),
            0x00c3_6400 => FileSystem::Network("Ceph"),
            0xaad7_aaea => FileSystem::Network("PanFS"),
            0x0102_1997 => FileSystem::Network("9p"),
            0x5346_414f | 0x6b41_4653 => FileSystem::Network("AFS"),
            0x0116_1970 => FileSystem::Network("GFS2"),
            0x7461_636f => FileSystem::Network("OCFS2"),
            0x2003_0528 => FileSystem::Network("OrangeFS"),
            0x7375_7245 => FileSystem::Network("Coda"),
            0x786f_4256 => FileSystem::Network("VirtualBox"),
            0xbacb_acbc => FileSystem::Network("VMware"),
            0x517b | 0xff53_4d42 | 0xfe53_4d42 => FileSystem::Network("SMB"),
            0x6573_5546 => FileSystem::Network("FUSE"),
            _ => FileSystem::Local,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_machines_share_is_told_from_what_is_local() {
        const EXT4: u64 = 0xef53;
        const TMPFS: u64 = 0x0102_1994;
        const LUSTRE: u64 = 0x0bd0_0bd0;
        assert_eq!(FileSystem::of_kind(LUSTRE), FileSystem::Network("Lustre"));
        for kind in [EXT4, TMPFS] {
            assert_eq!(FileSystem::of_kind(kind), FileSystem::Local);
        }
        assert_eq!(FileSystem::of(Path::new("/proc")).unwrap(), FileSystem::Local);
        assert!(FileSystem::of(Path::new("/no/such/folder")).is_err());
    }
}
