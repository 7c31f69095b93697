//! A page of the store that the disk gives back damaged: refused by name, with what to do, and a backup brings all back.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use super::{Site, given, instant};

const PAGE: usize = 4096;

/// Runs the command until it ends by itself, or until it has served for a moment: then nothing was refused.
async fn run(site: &Site, args: &[&str], data: &Path) -> Option<Output> {
    let mut command = Command::new(&site.binary);
    command.args(args).arg("--data").arg(data).env("HOME", data).stdin(Stdio::null()).kill_on_drop(true);
    tokio::time::timeout(Duration::from_secs(3), command.output()).await.ok().map(Result::unwrap)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_page_is_refused_by_name_and_a_backup_brings_all_back() {
    let Some(binary) = given("KINGLET_TEST_BIN") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut site = Site::new(binary, dir.path().join("data")).await;
    let (mut child, addr) = site.start().await;
    site.load(addr, async {
        tokio::time::sleep(20 * instant(7)).await;
        child.kill().await.unwrap();
    })
    .await;
    let backup = dir.path().join("backup.db");
    let out = backup.display().to_string();
    let made = run(&site, &["backup", "--out", &out], &site.data).await.unwrap();
    assert!(made.status.success(), "{made:?}");
    let good = std::fs::read(&backup).unwrap();
    // The first page says what the file is, the second is a map of pages, the third is the first of the tables: devices.
    for page in [0, 2] {
        let data = dir.path().join(format!("damaged-{page}"));
        std::fs::create_dir(&data).unwrap();
        std::fs::copy(site.data.join("master.key"), data.join("master.key")).unwrap();
        let mut bad = good.clone();
        bad[page * PAGE..(page + 1) * PAGE].fill(0x5a);
        std::fs::write(data.join("kinglet.db"), &bad).unwrap();
        let bad = data.join("bad.db").display().to_string();
        for args in [&["serve", "--http", "127.0.0.1:0"][..], &["backup", "--out", &bad]] {
            let ran =
                run(&site, args, &data).await.unwrap_or_else(|| panic!("page {page}: {args:?} goes on"));
            let said = String::from_utf8_lossy(&ran.stderr);
            assert!(!ran.status.success(), "page {page}: {args:?}");
            assert!(
                said.contains("kinglet.db") && said.contains("kinglet restore"),
                "page {page}: {args:?}: {said}"
            );
        }
        // As it is said: the damaged file is kept aside, the backup takes its place.
        std::fs::rename(data.join("kinglet.db"), data.join("kept-aside.db")).unwrap();
        for end in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(data.join(format!("kinglet.db{end}")));
        }
        let restored = run(&site, &["restore", &out], &data).await.unwrap();
        assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
        let before = std::mem::replace(&mut site.data, data);
        assert_eq!(site.lost(), [], "page {page}");
        if page == 2 {
            // The devices go on where they were.
            site.settle().await;
        }
        site.data = before;
    }
}
