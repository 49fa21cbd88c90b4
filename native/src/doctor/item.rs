//! One finding.

use serde::Serialize;

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Works, with something to know.
    Warning,
    /// Stands in the way.
    Problem,
    /// Not known, or not looked at.
    Unknown,
}

/// A finding: what, how it is, and what to do about it.
#[derive(Debug, Clone, Serialize)]
pub struct Item {
    /// What: for people and scripts alike, such as an adapter's name.
    pub name: String,
    pub status: Status,
    /// A sentence, or several that belong on lines of their own.
    pub detail: Vec<String>,
    /// What to do; only a warning or a problem has one.
    pub next_step: Option<String>,
}

impl Item {
    pub fn new(name: impl Into<String>, status: Status, detail: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            status,
            detail: vec![detail.into()],
            next_step: None,
        }
    }

    pub fn ok(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(name, Status::Ok, detail)
    }

    pub fn unknown(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(name, Status::Unknown, detail)
    }

    pub fn warning(
        name: impl Into<String>,
        detail: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self {
            next_step: Some(next.into()),
            ..Self::new(name, Status::Warning, detail)
        }
    }

    pub fn problem(
        name: impl Into<String>,
        detail: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self {
            next_step: Some(next.into()),
            ..Self::new(name, Status::Problem, detail)
        }
    }

    /// Another line of detail.
    pub fn line(mut self, detail: impl Into<String>) -> Self {
        self.detail.push(detail.into());
        self
    }
}
