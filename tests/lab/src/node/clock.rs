//! A clock of the day for each node, which can be set: the kernel has one for all of them, and a time namespace covers only the
//! clocks that run from the boot on.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{disk, mounts};
use crate::error::{Doing, Error, Result};
use crate::{paths, run};

const SOURCE: &str = include_str!("clock.c");
/// As a node sees them.
const LIBRARY: &str = "/usr/lib/pgbaton-lab-clock.so";
const SHIFT: &str = "/etc/clock-shift";
const PRELOAD: &str = "/etc/ld.so.preload";
const BUILD_LIMIT: Duration = Duration::from_secs(30);

/// Builds the library once for all nodes, with the linker's driver that Rust needs as well.
pub(crate) fn build() -> Result<PathBuf> {
    build_in(Path::new(paths::RUN), SHIFT)
}

/// It is bound to no version of the C library (`-nostdlib`): the nodes' may be older than the machine's.
fn build_in(directory: &Path, shift: &str) -> Result<PathBuf> {
    let (source, library) = (directory.join("clock.c"), directory.join("clock.so"));
    disk::write(&source, SOURCE)?;
    let mut compile = Command::new("cc");
    compile.args([
        "-O2",
        "-Wall",
        "-Werror",
        "-shared",
        "-fPIC",
        "-nostdlib",
        &format!("-DCLOCK_FILE=\"{shift}\""),
        "-o",
    ]);
    let built = run::check(compile.args([&library, &source]), BUILD_LIMIT);
    built.map_err(|error| {
        Error::Missing(format!("the nodes' clock cannot be built: {error}; it needs gcc and libc6-dev"))
    })?;
    Ok(library)
}

/// Before the node's first boot.
pub(crate) fn install(node: &str, library: &Path) -> Result<()> {
    let upper = |path: &str| paths::upper(node).join(path.trim_start_matches('/'));
    disk::write(&upper(SHIFT), 0_i64.to_ne_bytes())?;
    disk::write(&upper(PRELOAD), format!("{LIBRARY}\n"))?;
    let place = upper(LIBRARY);
    place.parent().map_or(Ok(()), mounts::make_dir)?;
    fs::copy(library, &place).doing(|| format!("write {}", place.display())).map(drop)
}

/// From now on the node's time of day is off by so many seconds, with power or without.
pub(crate) fn set(node: &str, seconds: i64) -> Result<()> {
    write(&paths::upper(node).join(SHIFT.trim_start_matches('/')), seconds)
}

/// In place: programs that run have the file mapped.
fn write(path: &Path, seconds: i64) -> Result<()> {
    let file = File::options().write(true).open(path);
    file.and_then(|mut file| file.write_all(&seconds.to_ne_bytes())).doing(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    use super::*;

    const YEARS: i64 = 3 * 31_556_952;
    /// Tells its clocks, waits for a word, and tells them again. The last numbers are what waits of a second took.
    const PROGRAM: &str = r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>
static long read_clock(int which) { struct timespec now; clock_gettime(which, &now); return now.tv_sec; }
static void wait_on_condition(int which) {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; pthread_mutex_lock(&mutex);
    pthread_condattr_t clock; pthread_condattr_init(&clock); pthread_condattr_setclock(&clock, which);
    pthread_cond_t never; pthread_cond_init(&never, &clock);
    struct timespec until; clock_gettime(which, &until); until.tv_sec += 1;
    long start = read_clock(CLOCK_MONOTONIC);
    pthread_cond_timedwait(&never, &mutex, &until);
    printf(" %ld", read_clock(CLOCK_MONOTONIC) - start);
}
static void tell(void) {
    struct timeval day; gettimeofday(&day, NULL);
    struct timespec until; clock_gettime(CLOCK_REALTIME, &until); until.tv_sec += 1;
    long start = read_clock(CLOCK_MONOTONIC);
    printf("%ld %ld %ld %ld %ld", read_clock(CLOCK_REALTIME), read_clock(CLOCK_REALTIME_COARSE), (long)day.tv_sec,
           (long)time(NULL), read_clock(CLOCK_BOOTTIME));
    sem_t never; sem_init(&never, 0, 0); sem_timedwait(&never, &until);
    printf(" %ld", read_clock(CLOCK_MONOTONIC) - start);
    wait_on_condition(CLOCK_REALTIME); wait_on_condition(CLOCK_MONOTONIC);
    printf("\n"); fflush(stdout);
}
int main(void) { tell(); getchar(); tell(); return 0; }
"#;

    fn build_program(directory: &Path) -> PathBuf {
        let (source, program) = (directory.join("ask.c"), directory.join("ask"));
        fs::write(&source, PROGRAM).unwrap();
        run::check(Command::new("cc").args([&source, Path::new("-o"), &program]), BUILD_LIMIT).unwrap();
        program
    }

    #[test]
    fn a_program_that_runs_sees_another_date_and_waits_as_long_as_before() {
        let directory = std::env::temp_dir().join(format!("lab-clock-{}", std::process::id()));
        let shift = directory.join("shift");
        disk::write(&shift, 0_i64.to_ne_bytes()).unwrap();
        let library = build_in(&directory, &shift.display().to_string()).unwrap();
        let mut program = Command::new(build_program(&directory))
            .env("LD_PRELOAD", &library)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let mut told = || -> Vec<i64> {
            lines.next().unwrap().unwrap().split(' ').map(|number| number.parse().unwrap()).collect()
        };
        let before = told();
        write(&shift, -YEARS).unwrap();
        program.stdin.take().unwrap().write_all(b"\n").unwrap();
        let after = told();
        assert!(program.wait().unwrap().success());
        fs::remove_dir_all(&directory).unwrap();

        let passed: Vec<i64> = before.iter().zip(&after).map(|(before, after)| after - before).collect();
        assert!(passed[..4].iter().all(|passed| (-YEARS..-YEARS + 60).contains(passed)), "{passed:?}");
        assert!((0..60).contains(&passed[4]), "{passed:?}");
        assert!(before[5..].iter().chain(&after[5..]).all(|waited| (1..30).contains(waited)), "{before:?} {after:?}");
    }
}
