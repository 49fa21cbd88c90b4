//! Controls in the app's own look. Each has an accessible name and can be reached with the keyboard.

mod button;
mod hash;
mod layout;

pub(crate) use button::{Kind, button, icon_button, menu_button, menu_command, wide_button};
pub(crate) use hash::{Match, hash_line};
pub(crate) use layout::{
    card, card_title, chip, facts, field, fit_text, hairline, heading, labelled, muted,
    name_heading, paragraph, secret_field, segmented, segmented_with, tabs,
};
