//! The rules of a manifest that its types do not carry. Reader and builder both go through here.

mod linears;
mod sparse;

use crate::error::shown;
use crate::limits::{
    MAX_EOS, MAX_HIDDEN, MAX_LAYERS, MAX_PARAMETERS, MAX_TEXT_BYTES, MAX_TOKENS, MAX_VOCAB,
    MAX_WORD_BYTES,
};
use crate::manifest::{FORMAT, VERSION, streams};
use crate::{Decimal, Manifest, Sampler, TraceError};

impl Manifest {
    /// Checks every rule that needs no tensors.
    ///
    /// # Errors
    /// The first [`TraceError`], in the order: identity, texts, sizes, lists, linear outputs, masks,
    /// sampler.
    pub(crate) fn validate(&self) -> Result<(), TraceError> {
        if self.format != FORMAT {
            return Err(TraceError::Format {
                got: shown(&self.format),
            });
        }
        if self.version != VERSION {
            return Err(TraceError::Version {
                got: self.version,
                want: VERSION,
            });
        }
        self.validate_streams()?;
        text("adapter", &self.adapter)?;
        text("producer", &self.producer)?;
        word("model.dtype", &self.model.dtype)?;
        word("model.family", &self.model.family)?;
        self.validate_sizes()?;
        self.validate_lists()?;
        if let Some(claim) = &self.linears {
            linears::validate(self, claim)?;
        }
        if let Some(claim) = &self.sparse {
            claim.check(self.model.layers)?;
        }
        validate_sampler(&self.sampler)
    }

    fn validate_streams(&self) -> Result<(), TraceError> {
        let named = |stream: &str| self.streams.iter().any(|name| name == stream);
        let (linears, masks) = (named("linears"), named("masks"));
        if self.streams != streams(linears, masks) {
            return Err(TraceError::Streams {
                got: shown(&self.streams.join(",")),
            });
        }
        for (field, stream, named, present) in [
            ("linears", "linears", linears, self.linears.is_some()),
            ("sparse", "masks", masks, self.sparse.is_some()),
        ] {
            if named != present {
                return Err(TraceError::StreamField {
                    field,
                    stream,
                    present,
                });
            }
        }
        Ok(())
    }

    fn validate_sizes(&self) -> Result<(), TraceError> {
        let model = &self.model;
        range("model.hidden", model.hidden, 1, MAX_HIDDEN)?;
        range("model.layers", model.layers, 1, MAX_LAYERS)?;
        range("model.vocab", model.vocab, 1, MAX_VOCAB)?;
        range("model.parameters", model.parameters, 1, MAX_PARAMETERS)?;
        range("prompt.tokens", self.prompt.tokens, 1, MAX_TOKENS)?;
        range("output.tokens", self.output.tokens, 1, MAX_TOKENS)?;
        let total = u64::from(self.prompt.tokens) + u64::from(self.output.tokens);
        range("prompt.tokens + output.tokens", total, 2, MAX_TOKENS)
    }

    fn validate_lists(&self) -> Result<(), TraceError> {
        range(
            "number of eos ids",
            self.eos.len() as u64,
            0,
            MAX_EOS as u64,
        )?;
        ascending("eos", &self.eos)?;
        if let Some(&last) = self.eos.last() {
            range("eos", last, 0, self.model.vocab - 1)?; // vocab is at least 1 by now
        }
        indices("opened", &self.opened, self.model.layers)
    }
}

fn validate_sampler(sampler: &Sampler) -> Result<(), TraceError> {
    let &Sampler::Gumbel {
        temperature, top_p, ..
    } = sampler
    else {
        return Ok(());
    };
    if temperature == Decimal::ZERO {
        return Err(TraceError::Temperature { got: temperature });
    }
    if top_p == Decimal::ZERO || top_p > Decimal::ONE {
        return Err(TraceError::TopP { got: top_p });
    }
    Ok(())
}

/// Printable ASCII only: the text is shown on terminals and pages, where control and direction characters lie.
fn text(field: &'static str, value: &str) -> Result<(), TraceError> {
    range(field, value.len() as u64, 0, MAX_TEXT_BYTES as u64)?;
    match value.bytes().position(|byte| !matches!(byte, b' '..=b'~')) {
        Some(offset) => Err(TraceError::Text { field, offset }),
        None => Ok(()),
    }
}

fn word(field: &'static str, value: &str) -> Result<(), TraceError> {
    let lower = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    if value.is_empty() || value.len() > MAX_WORD_BYTES || !value.bytes().all(lower) {
        return Err(TraceError::Word {
            field,
            got: shown(value),
        });
    }
    Ok(())
}

fn range(
    field: &'static str,
    got: impl Into<u64>,
    min: u64,
    max: impl Into<u64>,
) -> Result<(), TraceError> {
    let (got, max) = (got.into(), max.into());
    if (min..=max).contains(&got) {
        Ok(())
    } else {
        Err(TraceError::Range {
            field,
            got,
            min,
            max,
        })
    }
}

/// A list of indices 0..=`max`: strictly ascending, hence also no longer than that.
pub(crate) fn indices(field: &'static str, list: &[u32], max: u32) -> Result<(), TraceError> {
    ascending(field, list)?;
    match list.last() {
        Some(&last) => range(field, last, 0, max),
        None => Ok(()),
    }
}

fn ascending<T: PartialOrd>(field: &'static str, list: &[T]) -> Result<(), TraceError> {
    match list.windows(2).position(|pair| pair.first() >= pair.last()) {
        Some(at) => Err(TraceError::NotAscending {
            field,
            index: at + 1,
        }),
        None => Ok(()),
    }
}
