//! The profiles that ship with Assay, as a calibration writes them.

use std::path::{Path, PathBuf};

use assay_verify::{Profile, Profiles};

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../app/verify/profiles/profiles.json")
}

/// Those in the checkout.
pub fn kept() -> Vec<Profile> {
    let text = std::fs::read_to_string(path()).expect("it reads");
    Profiles::from_json(&text).expect("it parses").0
}

/// Puts `profile` among them, in place of the one of its name. Ends the program, with the profile printed, where it lets a forgery or a
/// measured cheat through: then something in the engine or in a case is wrong.
pub fn keep(profile: Profile) {
    if let Some(fault) = profile.fault() {
        eprintln!("not written: {fault}. Something in the engine or in a case is wrong:");
        eprintln!(
            "{}",
            serde_json::to_string_pretty(&profile).expect("it serialises")
        );
        std::process::exit(1);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../app/verify/profiles/profiles.json");
    let before = std::fs::read_to_string(&path).expect("it reads");
    let mut all = Profiles::from_json(&before).expect("it parses").0;
    match all.iter_mut().find(|known| known.id == profile.id) {
        Some(known) => *known = profile,
        None => all.push(profile),
    }
    let text = serde_json::to_string_pretty(&all).expect("it serialises") + "\n";
    std::fs::write(&path, text).expect("it is written");
    eprintln!("wrote {}", path.display());
}
