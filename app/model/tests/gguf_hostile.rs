//! GGUF files whose bytes were changed: an error or a model, no panic, and no more memory than the file's size explains.
#[path = "common/gguf.rs"]
mod maker;

use assay_model::Model;
use maker::Gguf;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator, which remembers the most that was in use.
struct Watched;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code, reason = "an allocator has no safe interface")]
// SAFETY: every call is passed on as it is; the counters touch no memory that is handed out.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = IN_USE.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(now, Relaxed);
        // SAFETY: the caller keeps to the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps to the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// Opens `bytes` and says whether that went well, and how many bytes it had in use beyond them.
fn open(bytes: Vec<u8>) -> (bool, usize) {
    let source = Arc::new(bytes);
    let before = IN_USE.load(Relaxed);
    MOST.store(before, Relaxed);
    let model = Model::from_gguf(source);
    if let Ok(model) = &model {
        if let Some(tokenizer) = model.tokenizer() {
            let ids = tokenizer.encode("abc 123 \u{0}é🦀</s><|end|>");
            let ids = ids.unwrap_or_default();
            assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()));
            tokenizer.decode(&ids);
        }
        model.root(&mut |_, _| {}).unwrap();
    }
    (model.is_ok(), MOST.load(Relaxed) - before)
}

/// What stands where a number or a length was.
fn number() -> impl Strategy<Value = u64> {
    let powers = (0u32..64).prop_map(|power| 1 << power);
    let below = (0u32..64).prop_map(|power| u64::MAX >> power);
    prop_oneof![any::<u64>(), powers, below, 0u64..40]
}

#[derive(Clone, Debug)]
enum Change {
    Flip(usize, u8),
    Number(usize, u64, usize),
    Cut(usize),
    Repeat(usize, usize),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let one = prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        (any::<usize>(), number(), 1usize..=8).prop_map(|(at, n, len)| Change::Number(at, n, len)),
        any::<usize>().prop_map(Change::Cut),
        (any::<usize>(), 1usize..64).prop_map(|(at, len)| Change::Repeat(at, len)),
    ];
    prop::collection::vec(one, 1..4)
}

/// Changes fall into the header: what follows are weights, of which any will do.
fn apply(gguf: &Gguf, changes: &[Change]) -> Vec<u8> {
    let header = gguf.header().len();
    let mut bytes = gguf.bytes();
    for change in changes {
        match *change {
            Change::Flip(at, byte) if !bytes.is_empty() => {
                let at = at % header.min(bytes.len());
                bytes[at] ^= byte.max(1);
            }
            Change::Number(at, number, len) => {
                let at = at % header;
                for (target, byte) in bytes.iter_mut().skip(at).zip(&number.to_le_bytes()[..len]) {
                    *target = *byte;
                }
            }
            Change::Cut(at) => bytes.truncate(at % (bytes.len() + 1)),
            Change::Repeat(at, len) => {
                let at = at % (bytes.len() + 1);
                let piece: Vec<u8> = bytes.iter().skip(at).take(len).copied().collect();
                bytes.splice(at..at, piece);
            }
            Change::Flip(..) => {}
        }
    }
    bytes
}

fn run(gguf: &Gguf, cases: u32, most: usize) {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    };
    let (opened, highest) = (Cell::new(0), Cell::new(0));
    let result = TestRunner::new(config).run(&changes(), |changes| {
        let (went_well, used) = open(apply(gguf, &changes));
        prop_assert!(used < most, "{} bytes in use", used);
        opened.set(opened.get() + u32::from(went_well));
        highest.set(used.max(highest.get()));
        Ok(())
    });
    result.unwrap();
    let (opened, highest) = (opened.get(), highest.get());
    eprintln!("{opened} of {cases} opened, {highest} bytes in use at most");
}

/// One test, so that nothing else is in the allocator's count.
#[test]
fn changed_headers_neither_panic_nor_exhaust_memory() {
    assert!(open(Gguf::tiny().bytes()).0);
    run(&Gguf::tiny(), 4000, 64 << 10);
    let pieces = [
        ("▁", -1.0),
        ("a", -2.0),
        ("b", -2.0),
        ("ab", -1.5),
        ("▁a", -1.0),
    ];
    let sentence_piece = Gguf::with_sentence_piece(&pieces);
    assert!(open(sentence_piece.bytes()).0);
    run(&sentence_piece, 2000, 256 << 10);
    // The library's regular expressions take most of it.
    for pre in ["gpt-2", "llama-bpe"] {
        let byte_level = Gguf::with_byte_level(pre, &["a b", "1 2", "12 3", "Ġ ab"]);
        assert!(open(byte_level.bytes()).0);
        run(&byte_level, 300, 8 << 20);
    }
}
