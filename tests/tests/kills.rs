//! The receiver `webhook` under `kill -9`: at random points of its life, while it recovers from the last kill as well, with senders that
//! try again. The judge knows what they were answered, and nothing else of weir than what it serves.
//!
//! 500 kills by default; `WEIR_TEST_KILLS=10000` for the full loop (docs/state.md has the command).

#![allow(clippy::disallowed_types, reason = "real processes live in real time")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tests::exposition::Exposition;
use tests::orders::{CONFIG, amount, counts, event, free, post, tenant};
use tests::{PATIENCE, Random, Weir, http, repository};

/// Every so many rounds weir is killed before it takes events.
const RECOVERY_EVERY: u64 = 5;
/// Every so many rounds a scrape is held against the books.
const SCRAPE_EVERY: u64 = 20;
/// How long 99 of 100 starts may take.
const READY: Duration = Duration::from_millis(250);

/// What senders know: which events they have made, and which were answered.
#[derive(Default)]
struct Books {
    made: u64,
    open: Vec<u64>,
    answered: Vec<u64>,
    redelivered: u64,
    unanswered: u64,
    kept: u64,
}

#[derive(Default)]
struct Senders {
    books: Mutex<Books>,
    finish: AtomicBool,
}

/// Where weir is started again and again.
struct Place {
    door: SocketAddr,
    scrapes: SocketAddr,
    folder: tempfile::TempDir,
}

/// A weir that is there to be killed.
struct Victim<'a> {
    child: Child,
    place: &'a Place,
    began: Instant,
}

/// What the loop hit.
#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    /// Kills while the ledger was open and no event was taken yet.
    recovering: u64,
    scrapes: u64,
    /// How long starts took, in their order.
    ready: Vec<Duration>,
}

impl Senders {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("no sender panics with the books in hand")
    }

    /// Sends new events, unanswered ones until they are answered, and answered ones once more.
    fn run(&self, door: SocketAddr, seed: u64) {
        let mut random = Random::new(seed);
        while let Some((id, again)) = self.next(&mut random) {
            match post(door, &event(id)) {
                Ok(response) if response.status == 200 => {
                    let duplicate = response.text().contains("\"duplicate\":true");
                    let mut books = self.books();
                    if again {
                        assert!(duplicate, "event {id} was counted a second time: {}", response.text());
                        books.redelivered += 1;
                    } else {
                        books.kept += u64::from(duplicate);
                        books.answered.push(id);
                    }
                }
                Ok(response) => panic!("event {id} was refused: {} {}", response.status, response.text()),
                Err(_) => {
                    let mut books = self.books();
                    books.unanswered += 1;
                    if !again {
                        books.open.push(id);
                    }
                    drop(books);
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }

    /// What to send next, and whether it was answered before; nothing at the end.
    fn next(&self, random: &mut Random) -> Option<(u64, bool)> {
        let mut books = self.books();
        match (books.open.pop(), books.answered.len()) {
            (Some(id), _) => Some((id, false)),
            (None, _) if self.finish.load(Ordering::Relaxed) => None,
            (None, answered) if answered > 0 && random.below(8) == 0 => {
                Some((books.answered[random.below(answered)], true))
            }
            _ => {
                books.made += 1;
                Some((books.made, false))
            }
        }
    }
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("there is room");
        std::fs::write(folder.path().join("weir.yaml"), CONFIG).expect("a fresh folder is writable");
        Self { door: free(), scrapes: free(), folder }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn start(&self) -> Victim<'_> {
        let folder = self.folder.path();
        let log = std::fs::File::create(folder.join("stderr")).expect("a fresh folder is writable");
        let mut command = Command::new(repository::binary());
        command.arg("run").arg("--config").arg(folder.join("weir.yaml")).current_dir(repository::root());
        command.env("HOOKS", self.door.to_string()).env("WEIR_LISTEN", self.scrapes.to_string());
        command.env("WEIR_STATE", self.state()).stderr(log).stdout(Stdio::null());
        let began = Instant::now();
        Victim { child: command.spawn().expect("weir starts"), place: self, began }
    }

    fn shown(&self) -> Exposition {
        Exposition::read(http::get(self.scrapes, "/metrics", &[http::TEXT]).expect("weir answers").text())
    }
}

impl Victim<'_> {
    /// Waits until events are taken, and says how long that took since it was executed: less the time that it was ready to run and
    /// other programs had the cores.
    fn ready(&mut self) -> Duration {
        let begun = Instant::now();
        while http::get(self.place.door, "/orders", &[]).is_err() {
            self.assert_alive();
            assert!(begun.elapsed() < PATIENCE, "no events are taken: {}", self.log());
            std::thread::sleep(Duration::from_millis(1));
        }
        self.began.elapsed().saturating_sub(held_up(self.child.id()))
    }

    /// Waits until it has the ledger's database open.
    fn opens_ledger(&mut self) {
        let files = PathBuf::from(format!("/proc/{}/fd", self.child.id()));
        let database = |file: std::fs::DirEntry| {
            std::fs::read_link(file.path()).is_ok_and(|file| file.file_name().is_some_and(|name| name == "ledger.db"))
        };
        let begun = Instant::now();
        while !std::fs::read_dir(&files).is_ok_and(|files| files.flatten().any(database)) {
            self.assert_alive();
            assert!(begun.elapsed() < PATIENCE, "it opens no ledger: {}", self.log());
        }
    }

    fn assert_alive(&mut self) {
        let ended = self.child.try_wait().expect("our own child can be asked");
        assert!(ended.is_none(), "the start failed: {ended:?}: {}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.place.folder.path().join("stderr")).unwrap_or_default()
    }

    /// Gives whether it had taken events, which it says before it does.
    fn kill(mut self) -> bool {
        self.assert_alive();
        self.child.kill().expect("our own child can be ended");
        self.child.wait().expect("our own child can be waited for");
        self.log().contains("taking events")
    }
}

impl Tally {
    /// The 99th of a hundred starts: the median over all hundreds, since what slows the machine for a while slows the starts of that while,
    /// and what slows weir all of them.
    fn ready_p99(&self) -> Duration {
        let mut hundreds: Vec<_> = self.ready.chunks(100).map(p99).collect();
        hundreds.sort();
        hundreds.get(hundreds.len() / 2).copied().unwrap_or_default()
    }
}

fn p99(took: &[Duration]) -> Duration {
    let mut took = took.to_vec();
    took.sort();
    took[(took.len() * 99).div_ceil(100) - 1]
}

/// For how long the thread of a process that was held up most was ready to run and had no core.
fn held_up(process: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let waited = |thread: std::fs::DirEntry| -> Option<u64> {
        let times = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        times.split(' ').nth(1)?.trim().parse().ok()
    };
    Duration::from_nanos(threads.filter_map(waited).max().unwrap_or_default())
}

/// Holds a scrape against what had been answered before it and what was made until after it.
fn between(place: &Place, senders: &Senders) {
    let answered = counts(senders.books().answered.iter().copied());
    let shown = place.shown();
    let made = counts(1..=senders.books().made);
    for (tenant, most) in made {
        let shown = shown.value("orders_total", &[("tenant", &tenant)]).unwrap_or(0.0);
        let least = answered.get(&tenant).copied().unwrap_or(0.0);
        assert!((least..=most).contains(&shown), "{tenant}: {shown} is not in {least}..={most}");
    }
}

/// Holds the last scrape against all that was made, when all of it is answered.
fn exactly(place: &Place, made: u64) {
    let shown = place.shown();
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    (1..=made).for_each(|id| *sums.entry(tenant(id)).or_default() += amount(id) as f64);
    for (tenant, count) in counts(1..=made) {
        assert_eq!(shown.value("orders_total", &[("tenant", &tenant)]), Some(count), "{tenant}");
        assert_eq!(shown.value("order_amount_total", &[("tenant", &tenant)]), Some(sums[&tenant]), "{tenant}");
    }
    assert_eq!(shown.value("order_size_count", &[]), Some(made as f64));
}

fn kill(place: &Place, senders: &Senders, kills: u64) -> Tally {
    let mut random = Random::new(11);
    let mut tally = Tally { kills, ..Tally::default() };
    for round in 0..kills {
        let mut weir = place.start();
        if round % RECOVERY_EVERY == RECOVERY_EVERY - 1 {
            weir.opens_ledger();
            std::thread::sleep(Duration::from_micros(random.below(3_000) as u64));
            tally.recovering += u64::from(!weir.kill());
        } else {
            tally.ready.push(weir.ready());
            if round % SCRAPE_EVERY == 0 {
                between(place, senders);
                tally.scrapes += 1;
            }
            std::thread::sleep(Duration::from_micros(random.below(30_000) as u64));
            assert!(weir.kill(), "it takes events and says so");
        }
    }
    tally
}

#[test]
fn no_kill_loses_doubles_or_invents_an_event_and_every_start_is_ready_in_time() {
    let kills = std::env::var("WEIR_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(500);
    let (place, senders) = (Place::new(), Arc::new(Senders::default()));
    let door = place.door;
    let threads: Vec<_> = (0..4)
        .map(|seed| {
            let senders = senders.clone();
            std::thread::spawn(move || senders.run(door, seed))
        })
        .collect();
    let tally = kill(&place, &senders, kills);

    let mut weir = place.start();
    weir.ready();
    senders.finish.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("no event is refused or counted twice");
    }
    let books = senders.books();
    assert_eq!(books.answered.len() as u64, books.made);
    exactly(&place, books.made);
    weir.kill();
    sound(&place.state());

    let Books { made, redelivered, unanswered, kept, .. } = &*books;
    let Tally { kills, recovering, scrapes, .. } = &tally;
    let ready = tally.ready_p99();
    let told = format!(
        "{kills} kills, {recovering} while recovering; {scrapes} scrapes; {made} events, {redelivered} redelivered, \
         {unanswered} tries unanswered, {kept} of them kept; ready within {ready:?} (99 of 100), {:?} at most",
        tally.ready.iter().max()
    );
    say(&told);
    // A loop that hit nothing has shown nothing.
    let hit = made > kills && *redelivered > 10 && *unanswered > 10 && *kept > 0 && *recovering > 0 && *scrapes > 0;
    assert!(hit, "{told}");
    // A build without optimisation gets more time.
    let limit = if repository::is_optimised() { READY } else { READY * 4 };
    assert!(ready <= limit, "{told}");
}

/// A crash is no damage: nothing had to be put aside, and all rows are sound.
fn sound(state: &Path) {
    let folder = state.join("receivers/webhook");
    let files = std::fs::read_dir(&folder).expect("the ledger is there").flatten();
    let aside: Vec<_> =
        files.map(|file| file.file_name()).filter(|name| name.to_string_lossy().contains("corrupt")).collect();
    assert!(aside.is_empty(), "{aside:?}");
    let folder = folder.to_str().expect("tests use UTF-8");
    let verified = Weir::command(&["ledger", "verify", folder], &[]);
    assert_eq!(verified.code(), 0, "{}{}", verified.stdout, verified.stderr);
}

#[allow(clippy::print_stdout, reason = "the report of a long loop")]
fn say(text: &str) {
    println!("{text}");
}
