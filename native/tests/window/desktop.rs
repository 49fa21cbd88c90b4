//! A desktop of its own for each test: an X server without a screen, an empty home, no session bus, llvmpipe.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::x11::{Display, Window};

/// For whatever should come at once; machines may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// The desktop. One at a time: what several software renderers compute together, they compute slowly.
pub struct Desktop {
    display: Display,
    number: u32,
    home: TempDir,
    server: Child,
    _alone: MutexGuard<'static, ()>,
}

impl Desktop {
    /// `None`, with a printed line, where there is no Xvfb.
    pub fn start() -> Option<Self> {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // It ends with its last client, also where this process ends without cleaning up.
        let server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1400x900x24"])
            .args(["-nolisten", "tcp", "-terminate"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut server = match server {
            Ok(server) => server,
            Err(err) => {
                assert!(
                    std::env::var_os("ASSAY_REQUIRE_ADAPTERS").is_none(),
                    "Xvfb is required and missing: {err}"
                );
                println!("skipped: no Xvfb on this machine ({err})");
                return None;
            }
        };
        let mut line = String::new();
        let stdout = server.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let number = line.trim().parse().expect("the server's number");
        Some(Self {
            display: Display::connect(number),
            number,
            home: tempfile::tempdir().unwrap(),
            server,
            _alone: alone,
        })
    }

    /// A file or folder in the home.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The program, as it runs on this desktop.
    pub fn assay(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
        let folder = |name: &str| {
            let folder = self.path(name);
            fs::create_dir_all(&folder).unwrap();
            folder
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(folder("bin")).chain(std::env::split_paths(&path));
        command
            .env("HOME", self.home.path())
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("XDG_CONFIG_HOME", folder("config"))
            .env("XDG_DATA_HOME", folder("data"))
            .env("XDG_CACHE_HOME", folder("cache"))
            .env("XDG_RUNTIME_DIR", folder("run"))
            .env("DISPLAY", format!(":{}", self.number))
            // An unset address makes libdbus start a bus on the display; a dead one does not.
            .env(
                "DBUS_SESSION_BUS_ADDRESS",
                format!("unix:path={}", self.path("no-bus").display()),
            );
        for name in ["WAYLAND_DISPLAY", "WAYLAND_SOCKET", "XAUTHORITY"] {
            command.env_remove(name);
        }
        if let Some(driver) = llvmpipe() {
            for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
                command.env(name, &driver);
            }
        }
        command.stdin(Stdio::null());
        command
    }

    /// Opens the window.
    pub fn open(&mut self, args: &[&str]) -> Opened<'_> {
        let command = self.assay();
        self.run(command, args)
    }

    /// Opens it where the loader finds every driver that the tests' caller names; `None` where those are no two.
    pub fn open_with_all_drivers(&mut self) -> Option<Opened<'_>> {
        let files = std::env::var_os("VK_DRIVER_FILES")
            .filter(|files| std::env::split_paths(files).count() > 1)?;
        let mut command = self.assay();
        for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
            command.env(name, &files);
        }
        Some(self.run(command, &[]))
    }

    fn run(&mut self, mut command: Command, args: &[&str]) -> Opened<'_> {
        let (state, stderr) = (self.path("state.json"), self.path("stderr"));
        drop(fs::remove_file(&state));
        command
            .arg("window")
            .arg("--state")
            .arg(&state)
            .args(args)
            .stdout(Stdio::null())
            .stderr(File::create(&stderr).unwrap())
            .process_group(0);
        Opened {
            child: command.spawn().unwrap(),
            state,
            stderr,
            desktop: self,
        }
    }

    /// Puts a file dialog in place of the system's: a shell script that prints the answer.
    pub fn dialog(&self, script: &str) {
        let path = self.path("bin").join("zenity");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

/// llvmpipe's manifest, of those that the caller names or else where drivers register themselves.
fn llvmpipe() -> Option<PathBuf> {
    let named = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"]
        .iter()
        .filter_map(std::env::var_os)
        .flat_map(|list| std::env::split_paths(&list).collect::<Vec<_>>());
    let registered = ["/usr/share", "/etc", "/usr/local/share"]
        .iter()
        .filter_map(|folder| fs::read_dir(Path::new(folder).join("vulkan/icd.d")).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()));
    let is_it = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy());
        name.is_some_and(|name| name.starts_with("lvp_icd"))
    };
    named.chain(registered).find(is_it)
}

/// The open window. Dropping it ends its process and that one's children.
pub struct Opened<'a> {
    child: Child,
    state: PathBuf,
    stderr: PathBuf,
    pub desktop: &'a mut Desktop,
}

impl Opened<'_> {
    /// What is going on.
    pub fn state(&self) -> Option<Value> {
        let text = fs::read_to_string(&self.state).ok()?;
        Some(serde_json::from_str(&text).expect("the state is JSON at any time"))
    }

    /// What was said on stderr.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// Waits until `is` holds for the state, and returns it.
    #[track_caller]
    pub fn wait(&mut self, is: impl Fn(&Value) -> bool) -> Value {
        self.until(|opened| opened.state().filter(|state| is(state)))
    }

    /// Waits until there is an answer.
    #[track_caller]
    pub fn until<T>(&mut self, mut answer: impl FnMut(&mut Self) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(answer) = answer(self) {
                return answer;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && started.elapsed() < PATIENCE,
                "in vain ({ended:?}); state {:?}; stderr: {}",
                self.state(),
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The window, once it is there.
    #[track_caller]
    pub fn window(&mut self) -> Window {
        self.until(|opened| opened.desktop.display.find("Assay"))
    }

    /// Its picture, while it is on screen.
    pub fn picture(&mut self, window: Window) -> Option<(usize, usize, Vec<u8>)> {
        self.desktop.display.picture(window)
    }

    /// Drags files over it and lets go, or leaves.
    pub fn drag(&mut self, uris: &str, drop: bool) -> bool {
        let window = self.window();
        self.desktop.display.drag(window, uris, drop)
    }

    /// Closes it as a user does, and returns the exit code; nothing of it is left, and nothing was said.
    #[track_caller]
    pub fn close(self) -> i32 {
        self.close_within(PATIENCE)
    }

    /// The same within a time.
    #[track_caller]
    pub fn close_within(mut self, limit: Duration) -> i32 {
        let window = self.window();
        self.desktop.display.close(window);
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < limit, "the window does not close");
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(self.stderr(), "", "{status}");
        status.code().expect("it was not killed")
    }

    /// Processes of its group, itself included as long as nobody waited for it.
    pub fn processes(&self) -> Vec<u32> {
        group(self.child.id())
    }

    /// Its process group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        let ids = group(self.child.id());
        drop(self.child.kill());
        drop(self.child.wait());
        for id in ids {
            let kill = ["-KILL".to_owned(), id.to_string()];
            let quiet = Command::new("kill")
                .args(kill)
                .stderr(Stdio::null())
                .status();
            drop(quiet);
        }
    }
}

/// The processes of a process group.
pub fn group(id: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|process: &u32| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            // After the name, which may hold anything: state, parent, group.
            let group = stat
                .rsplit_once(')')
                .and_then(|(_, rest)| rest.split_whitespace().nth(2));
            group.is_some_and(|group| group == id.to_string())
        })
        .collect()
}
