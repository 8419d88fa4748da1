use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use super::*;

/// Set for a process that is to be killed in the middle of a build: the cache's directory.
const VICTIM: &str = "MUSTER_TEST_VICTIM";

fn cache() -> (tempfile::TempDir, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap().with_progress(|_: &str| {});
    (dir, cache)
}

fn key(input: &str) -> Fingerprint {
    Fingerprint::new("thing", 1).field("input", input)
}

/// Makes an entry with one file; its path, and whether it was made now.
fn make(cache: &Cache, fingerprint: Fingerprint) -> (PathBuf, bool) {
    let mut built = false;
    let entry = cache.entry(fingerprint, |dir| {
        built = true;
        fs::write(dir.join("file"), "whole").map_err(CacheError::io("write", dir))
    });
    (entry.unwrap(), built)
}

fn content(entry: &Path) -> String {
    fs::read_to_string(entry.join("file")).unwrap()
}

/// All names on the recipe's shelf but its lock's.
fn shelf(cache: &Cache) -> Vec<String> {
    let names = fs::read_dir(cache.dir().join("thing")).unwrap();
    let names = names.map(|item| item.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != ".lock").collect()
}

#[test]
fn an_image_is_made_once() {
    let (dir, cache) = cache();
    let (first, made) = make(&cache, key("a"));
    assert!(made);
    assert_eq!(content(&first), "whole");
    assert_eq!(make(&cache, key("a")), (first.clone(), false));
    let again = Cache::open(dir.path()).unwrap();
    assert_eq!(make(&again, key("a")), (first, false));
}

#[test]
fn other_inputs_make_another_image() {
    let (_dir, cache) = cache();
    let (first, _) = make(&cache, key("a"));
    let (other, made) = make(&cache, key("b"));
    assert!(made);
    assert_ne!(first, other);
    assert_eq!(make(&cache, key("a")), (first, false), "both are current");
}

#[test]
fn a_failed_build_leaves_nothing() {
    let (_dir, cache) = cache();
    let result = cache.entry(key("a"), |dir| {
        fs::write(dir.join("file"), "half").unwrap();
        Err(CacheError::NoPlace)
    });
    assert!(matches!(result, Err(CacheError::NoPlace)));
    assert!(shelf(&cache).is_empty(), "{:?}", shelf(&cache));
    let (entry, made) = make(&cache, key("a"));
    assert!(made);
    assert_eq!(content(&entry), "whole");
}

#[test]
fn a_killed_build_leaves_nothing_that_looks_finished() {
    if let Some(dir) = env::var_os(VICTIM) {
        let cache = Cache::open(dir).unwrap();
        let _ = cache.entry(key("a"), |dir| -> Result<(), CacheError> {
            fs::write(dir.join("file"), "half").unwrap();
            println!("half-way");
            loop {
                thread::park();
            }
        });
    }
    let (dir, cache) = cache();
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", thread::current().name().unwrap()])
        .env(VICTIM, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = victim.stdout.take().unwrap();
    let mut said = String::new();
    while !said.contains("half-way") {
        let mut some = [0; 64];
        let count = output.read(&mut some).unwrap();
        assert_ne!(count, 0, "{said}");
        said.push_str(str::from_utf8(&some[..count]).unwrap());
    }
    victim.kill().unwrap();
    assert_eq!(victim.wait().unwrap().signal(), Some(9));
    assert_eq!(
        shelf(&cache).len(),
        1,
        "the half must be there for this to mean anything"
    );

    let (entry, made) = make(&cache, key("a"));
    assert!(made);
    assert_eq!(content(&entry), "whole");
    assert_eq!(
        shelf(&cache),
        [entry.file_name().unwrap().to_str().unwrap()]
    );
}

#[test]
fn concurrent_builders_make_one_image() {
    const BUILDERS: usize = 8;
    let dir = tempfile::tempdir().unwrap();
    let built = AtomicUsize::new(0);
    let waited = Arc::new(Mutex::new(Vec::new()));
    let start = Barrier::new(BUILDERS);
    let entries: Vec<PathBuf> = thread::scope(|scope| {
        let builders: Vec<_> = (0..BUILDERS)
            .map(|_| {
                scope.spawn(|| {
                    let waited = waited.clone();
                    let note = move |text: &str| waited.lock().unwrap().push(text.to_owned());
                    let cache = Cache::open(dir.path()).unwrap().with_progress(note);
                    start.wait();
                    let entry = cache.entry(key("a"), |dir| {
                        built.fetch_add(1, Ordering::Relaxed);
                        fs::write(dir.join("file"), "who").unwrap();
                        thread::sleep(Duration::from_millis(200));
                        fs::write(dir.join("file"), "whole").unwrap();
                        Ok::<_, CacheError>(())
                    });
                    let entry = entry.unwrap();
                    assert_eq!(content(&entry), "whole");
                    entry
                })
            })
            .collect();
        builders
            .into_iter()
            .map(|builder| builder.join().unwrap())
            .collect()
    });
    assert_eq!(built.into_inner(), 1);
    assert!(entries.iter().all(|entry| *entry == entries[0]));
    let waited = waited.lock().unwrap();
    assert_eq!(
        *waited,
        vec!["waiting for another process that prepares thing"; BUILDERS - 1]
    );
}

/// Makes the entry look as if it was last used so long ago.
fn age(entry: &Path, age: Duration) {
    File::open(entry)
        .unwrap()
        .set_modified(SystemTime::now() - age)
        .unwrap();
}

#[test]
fn entries_out_of_use_go_when_another_is_made() {
    let (_dir, cache) = cache();
    let minute = Duration::from_secs(60);
    let (old, _) = make(&cache, key("old"));
    let (recent, _) = make(&cache, key("recent"));
    let (old_but_used, _) = make(&cache, key("old but used"));
    age(&old, UNUSED_MAX + minute);
    age(&recent, UNUSED_MAX - minute);
    age(&old_but_used, UNUSED_MAX + minute);
    make(&cache, key("old but used"));
    assert!(
        old.exists(),
        "nothing goes before something takes its place"
    );
    let (new, _) = make(&cache, key("new"));
    assert!(!old.exists());
    assert!(recent.exists() && old_but_used.exists() && new.exists());
}

#[test]
fn a_build_of_long_ago_counts_from_its_end() {
    let (_dir, cache) = cache();
    let entry = cache.entry(key("a"), |dir| {
        age(dir, 2 * UNUSED_MAX);
        Ok::<_, CacheError>(())
    });
    make(&cache, key("b"));
    assert!(entry.unwrap().exists());
}

#[test]
fn fingerprints_tell_all_inputs_apart() {
    let new = || Fingerprint::new("r", 1);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "one").unwrap();
    let one = new().file("f", file.path()).unwrap();
    fs::write(file.path(), "two").unwrap();
    let two = new().file("f", file.path()).unwrap();
    let all = [
        new(),
        Fingerprint::new("r", 2),
        Fingerprint::new("s", 1),
        new().field("a", "b"),
        new().field("b", "a"),
        new().field("a", "").field("b", ""),
        new().field("ab", "c"),
        new().field("a", "bc"),
        new().field("a", "b").field("a", "b"),
        one.clone(),
        two,
    ];
    let names: Vec<_> = all.into_iter().map(Fingerprint::finish).collect();
    for (index, name) in names.iter().enumerate() {
        assert!(!names[..index].contains(name), "{index}");
    }
    assert_eq!(
        one.finish(),
        new().content("f", b"one").finish(),
        "content is content"
    );
}

#[test]
fn an_unusable_place_is_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Cache::open(file.path().join("cache")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("image cache: cannot create /"),
        "{error}"
    );
    let missing = Path::new("/nonexistent/file");
    let error = Fingerprint::new("r", 1).file("f", missing).unwrap_err();
    assert_eq!(
        error.to_string(),
        "image cache: cannot open /nonexistent/file"
    );
}

#[test]
fn nothing_is_printed_by_a_cache_with_progress_of_its_own() {
    let steps = Arc::new(Mutex::new(Vec::new()));
    let dir = tempfile::tempdir().unwrap();
    let note = {
        let steps = steps.clone();
        move |text: &str| steps.lock().unwrap().push(text.to_owned())
    };
    let cache = Cache::open(dir.path()).unwrap().with_progress(note);
    cache.step("one");
    cache.step("two");
    assert_eq!(*steps.lock().unwrap(), ["one", "two"]);
}
