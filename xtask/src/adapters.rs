//! Which Vulkan drivers there are, and how children get to see all of them.
//!
//! Debian's llvmpipe registers itself; the SwiftShader that comes with Chromium does not, so the loader has to be told.
//! With both, one process can prove on one implementation and verify on another, without any GPU.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where drivers register themselves.
const REGISTRIES: [&str; 3] = [
    "/usr/share/vulkan/icd.d",
    "/etc/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
];
/// Where Chromium's SwiftShader lies: Debian's and Fedora's packages, then Google's and the Snap's.
const SWIFTSHADER: [&str; 5] = [
    "/usr/lib/chromium/vk_swiftshader_icd.json",
    "/usr/lib64/chromium-browser/vk_swiftshader_icd.json",
    "/usr/lib/chromium-browser/vk_swiftshader_icd.json",
    "/opt/google/chrome/vk_swiftshader_icd.json",
    "/snap/chromium/current/usr/lib/chromium-browser/vk_swiftshader_icd.json",
];

/// The loader's two variables for the same thing; the first is the newer.
const VARIABLES: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];

/// The drivers found.
#[derive(Debug, Default, Clone)]
pub struct Adapters {
    files: Vec<PathBuf>,
}

impl Adapters {
    /// Looks at the file system; runs nothing.
    pub fn find() -> Self {
        if !cfg!(target_os = "linux") {
            return Self::default();
        }
        let mut files: Vec<PathBuf> = REGISTRIES
            .iter()
            .flat_map(|folder| manifests(Path::new(folder)))
            .collect();
        files.extend(
            SWIFTSHADER
                .iter()
                .map(PathBuf::from)
                .find(|path| path.is_file()),
        );
        Self { files }
    }

    /// Whether there is any driver.
    pub fn any(&self) -> bool {
        !self.files.is_empty()
    }

    /// Whether llvmpipe is there.
    pub fn llvmpipe(&self) -> bool {
        self.has("lvp_icd")
    }

    /// Whether SwiftShader is there.
    pub fn swiftshader(&self) -> bool {
        self.has("swiftshader")
    }

    /// What to type so that a shell's commands see the same drivers; none if they do anyway.
    pub fn export(&self) -> Option<String> {
        let list = std::env::join_paths(&self.files).ok()?;
        let shown = !chosen_by_user() && self.swiftshader();
        shown.then(|| format!("export {}={}", VARIABLES[0], list.to_string_lossy()))
    }

    fn has(&self, part: &str) -> bool {
        let name = |path: &PathBuf| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        };
        self.files
            .iter()
            .filter_map(name)
            .any(|name| name.contains(part))
    }

    /// Shows all of them to a child; the user's own choice of drivers stands.
    pub fn set(&self, command: &mut Command) {
        if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
            // Without it, Mesa's OpenGL complains on stderr each time that somebody asks for adapters.
            command.env("XDG_RUNTIME_DIR", std::env::temp_dir());
        }
        if self.files.is_empty() || chosen_by_user() {
            return;
        }
        if let Ok(list) = std::env::join_paths(&self.files) {
            for variable in VARIABLES {
                command.env(variable, &list);
            }
        }
    }
}

/// Whether the environment already says which drivers to use.
pub fn chosen_by_user() -> bool {
    VARIABLES
        .iter()
        .any(|variable| std::env::var_os(variable).is_some_and(|value| !value.is_empty()))
}

fn manifests(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "json"))
        .collect();
    files.sort();
    files
}
