//! A line preprocessor: `#include`, `#if`, `#for`, and `${...}` with integer arithmetic.
//!
//! ```text
//! #include "numerics"          the text of include/numerics.wgsl
//! #if NAME                     lines up to #else / #endif stay when NAME is defined and not 0
//! #for I 0 TILE_M              the lines up to #endfor once for each I in 0..TILE_M
//! ${I*4+1}                     integers, defines and loop variables with * + - (left to right, * first)
//! ```
//!
//! WGSL has no array of registers that every driver keeps in registers, so inner tiles are unrolled in
//! the text; everything else stays ordinary WGSL that naga and Tint both validate.

use std::collections::BTreeMap;

/// Deepest nesting of includes, conditions and loops: a fault in a kernel must not recurse for ever.
const MAX_DEPTH: usize = 16;

/// Named integers that select a variant. Ordered, so that equal sets make equal pipeline keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Defines(BTreeMap<String, i64>);

impl Defines {
    /// No defines.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same set with `name` = `value`.
    #[must_use]
    pub fn with(mut self, name: &str, value: i64) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    /// The same set with `name` = 1 when `on`; otherwise unchanged.
    #[must_use]
    pub fn flag(self, name: &str, on: bool) -> Self {
        if on { self.with(name, 1) } else { self }
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<i64> {
        self.0.get(name).copied()
    }

    /// `NAME=1,OTHER=2`: for pipeline labels.
    pub fn label(&self) -> String {
        let parts: Vec<String> = self.0.iter().map(|(k, v)| format!("{k}={v}")).collect();
        parts.join(",")
    }
}

/// What can be wrong in a kernel's text. All of these are faults of this repository, found by its tests.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ShaderError {
    /// No kernel or include of that name is embedded.
    #[error("no shader source named `{0}`")]
    UnknownSource(String),
    /// A directive that the preprocessor does not know, or one without its arguments.
    #[error("`{file}` line {line}: bad directive `{text}`")]
    BadDirective {
        /// Source name.
        file: String,
        /// 1-based line.
        line: usize,
        /// The line.
        text: String,
    },
    /// `${...}` holds a name that is neither a define nor a loop variable, or arithmetic overflows.
    #[error("`{file}` line {line}: cannot evaluate `{text}`")]
    BadExpression {
        /// Source name.
        file: String,
        /// 1-based line.
        line: usize,
        /// The expression.
        text: String,
    },
    /// An `#if` or `#for` without its end, or an end without its start.
    #[error("`{file}` line {line}: unbalanced `#if`, `#else`, `#endif`, `#for` or `#endfor`")]
    Unbalanced {
        /// Source name.
        file: String,
        /// 1-based line.
        line: usize,
    },
    /// Nested too deeply.
    #[error("`{0}` nests more than {MAX_DEPTH} levels deep")]
    TooDeep(String),
}

/// Expands `name` with `source` as the table of texts (kernels plain, includes as `include/NAME`).
pub fn expand_with(
    name: &str,
    defines: &Defines,
    source: &dyn Fn(&str) -> Option<&'static str>,
) -> Result<String, ShaderError> {
    let text = source(name).ok_or_else(|| ShaderError::UnknownSource(name.to_owned()))?;
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::with_capacity(text.len() * 2);
    let mut scope = Scope {
        defines: defines.clone(),
        file: name.to_owned(),
        source,
        depth: 0,
    };
    scope.block(&lines, 0, &mut out)?;
    Ok(out)
}

struct Scope<'a> {
    defines: Defines,
    file: String,
    source: &'a dyn Fn(&str) -> Option<&'static str>,
    depth: usize,
}

impl Scope<'_> {
    /// Expands `lines`, the first of which is line `first + 1` of the file.
    fn block(&mut self, lines: &[&str], first: usize, out: &mut String) -> Result<(), ShaderError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ShaderError::TooDeep(self.file.clone()));
        }
        let mut i = 0;
        while i < lines.len() {
            let line = lines[i];
            let at = first + i + 1;
            let words: Vec<&str> = line.split_whitespace().collect();
            let bad = || ShaderError::BadDirective {
                file: self.file.clone(),
                line: at,
                text: line.to_owned(),
            };
            match words.first().copied() {
                Some("#include") => {
                    let name = words.get(1).map(|w| w.trim_matches('"')).ok_or_else(bad)?;
                    self.include(name, out)?;
                    i += 1;
                }
                Some("#if") => {
                    let name = *words.get(1).ok_or_else(bad)?;
                    let (middle, end) = find_end(&lines[i..], "#if", "#endif", Some("#else"))
                        .ok_or_else(|| self.unbalanced(at))?;
                    let on = self.defines.get(name).is_some_and(|v| v != 0);
                    let (from, to) = match (on, middle) {
                        (true, middle) => (i + 1, i + middle.unwrap_or(end)),
                        (false, Some(middle)) => (i + middle + 1, i + end),
                        (false, None) => (i + end, i + end),
                    };
                    self.block(&lines[from..to], first + from, out)?;
                    i += end + 1;
                }
                Some("#for") => {
                    let [_, variable, low, high] = words[..] else {
                        return Err(bad());
                    };
                    let (_, end) = find_end(&lines[i..], "#for", "#endfor", None)
                        .ok_or_else(|| self.unbalanced(at))?;
                    let low = self.evaluate(low, at)?;
                    let high = self.evaluate(high, at)?;
                    let outer = self.defines.clone();
                    for value in low..high {
                        self.defines = outer.clone().with(variable, value);
                        self.block(&lines[i + 1..i + end], first + i + 1, out)?;
                    }
                    self.defines = outer;
                    i += end + 1;
                }
                Some("#else" | "#endif" | "#endfor") => return Err(self.unbalanced(at)),
                Some(word) if word.starts_with('#') => return Err(bad()),
                _ => {
                    self.substitute(line, at, out)?;
                    out.push('\n');
                    i += 1;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn include(&mut self, name: &str, out: &mut String) -> Result<(), ShaderError> {
        let full = format!("include/{name}");
        let text = (self.source)(&full).ok_or_else(|| ShaderError::UnknownSource(full.clone()))?;
        let lines: Vec<&str> = text.lines().collect();
        let outer = std::mem::replace(&mut self.file, full);
        self.block(&lines, 0, out)?;
        self.file = outer;
        Ok(())
    }

    fn substitute(&self, line: &str, at: usize, out: &mut String) -> Result<(), ShaderError> {
        let mut rest = line;
        while let Some(start) = rest.find("${") {
            let Some(length) = rest[start..].find('}') else {
                return Err(ShaderError::BadExpression {
                    file: self.file.clone(),
                    line: at,
                    text: rest[start..].to_owned(),
                });
            };
            out.push_str(&rest[..start]);
            let value = self.evaluate(&rest[start + 2..start + length], at)?;
            out.push_str(&value.to_string());
            rest = &rest[start + length + 1..];
        }
        out.push_str(rest);
        Ok(())
    }

    /// Sums of products: `A*4+B-1`.
    fn evaluate(&self, text: &str, at: usize) -> Result<i64, ShaderError> {
        let bad = || ShaderError::BadExpression {
            file: self.file.clone(),
            line: at,
            text: text.to_owned(),
        };
        let mut total: i64 = 0;
        let mut sign = 1;
        let mut term = String::new();
        for c in text.chars().chain(std::iter::once('+')) {
            if c == '+' || c == '-' {
                let mut product: i64 = sign;
                for factor in term.split('*') {
                    let factor = factor.trim();
                    let value = factor
                        .parse()
                        .ok()
                        .or_else(|| self.defines.get(factor))
                        .ok_or_else(bad)?;
                    product = product.checked_mul(value).ok_or_else(bad)?;
                }
                total = total.checked_add(product).ok_or_else(bad)?;
                sign = if c == '-' { -1 } else { 1 };
                term.clear();
            } else {
                term.push(c);
            }
        }
        Ok(total)
    }

    fn unbalanced(&self, line: usize) -> ShaderError {
        ShaderError::Unbalanced {
            file: self.file.clone(),
            line,
        }
    }
}

/// Offsets of the matching middle and end directives in `lines`, whose first line opens the block.
fn find_end(
    lines: &[&str],
    open: &str,
    close: &str,
    middle: Option<&str>,
) -> Option<(Option<usize>, usize)> {
    let mut depth = 0usize;
    let mut found_middle = None;
    for (i, line) in lines.iter().enumerate() {
        let word = line.split_whitespace().next();
        if word == Some(open) {
            depth += 1;
        } else if word == Some(close) {
            depth -= 1;
            if depth == 0 {
                return Some((found_middle, i));
            }
        } else if depth == 1 && word.is_some() && word == middle {
            found_middle = Some(i);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &'static str, defines: &Defines) -> Result<String, ShaderError> {
        expand_with("t", defines, &|name| match name {
            "t" => Some(text),
            "include/inner" => Some("inner ${N}"),
            "include/loop" => Some("#include \"loop\""),
            _ => None,
        })
    }

    #[test]
    fn expands_loops_conditions_and_expressions() {
        let defines = Defines::new()
            .with("N", 2)
            .flag("ON", true)
            .flag("OFF", false);
        let text = "#for I 0 N\n#for J 1 N+1\na${I}_${J*4-1}\n#endfor\n#endfor\n#if OFF\nno\n#else\nyes\n#endif\n#if ON\n#include \"inner\"\n#endif";
        assert_eq!(
            run(text, &defines).unwrap(),
            "a0_3\na0_7\na1_3\na1_7\nyes\ninner 2\n"
        );
    }

    #[test]
    fn names_what_is_wrong() {
        let none = Defines::new();
        assert!(matches!(
            run("#if A\nx", &none),
            Err(ShaderError::Unbalanced { line: 1, .. })
        ));
        assert!(matches!(
            run("x\n#endfor", &none),
            Err(ShaderError::Unbalanced { line: 2, .. })
        ));
        assert!(matches!(
            run("${A}", &none),
            Err(ShaderError::BadExpression { line: 1, .. })
        ));
        assert!(matches!(
            run("#what", &none),
            Err(ShaderError::BadDirective { .. })
        ));
        assert!(matches!(
            run("#include \"x\"", &none),
            Err(ShaderError::UnknownSource(_))
        ));
        assert!(matches!(
            run("#include \"loop\"", &none),
            Err(ShaderError::TooDeep(_))
        ));
        assert!(matches!(
            run("#for I 0 9223372036854775807*2\n#endfor", &none),
            Err(ShaderError::BadExpression { .. })
        ));
    }
}
