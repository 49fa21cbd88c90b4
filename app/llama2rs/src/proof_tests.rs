use super::*;
use crate::read::{Entry, Metadata};

fn trace(n: i32) -> Trace {
    let entry = |position| Entry {
        position,
        token: position * 3,
        text: None,
        logits: Digest::of(&[position as u8]),
    };
    let metadata = Metadata {
        model_path: "m".to_owned(),
        prompt: String::new(),
        steps: 9,
    };
    Trace::seal(metadata, (0..n).map(entry).collect())
}

#[test]
fn every_step_of_small_traces_proves_itself_and_nothing_else() {
    for n in 1..=17 {
        let trace = trace(n);
        for index in 0..n as usize {
            let proof = StepProof::of(&trace, index).unwrap();
            assert_eq!(proof.root(), trace.root);
            assert_eq!(
                StepProof::parse(proof.to_json().as_bytes()),
                Ok(proof.clone())
            );
            let stored = proof.as_stored().unwrap();
            assert_eq!(tree::proof(&trace.leaves, index), Some(stored));

            let bent = |bend: &dyn Fn(&mut StepProof)| {
                let mut bent = proof.clone();
                bend(&mut bent);
                bent.root()
            };
            assert_ne!(bent(&|p| p.token += 1), trace.root);
            assert_ne!(bent(&|p| p.logits.0[0] ^= 1), trace.root);
            assert_ne!(
                bent(&|p| p.index = (p.index + 1) % p.count.max(2)),
                trace.root
            );
            assert_ne!(bent(&|p| p.siblings.push(Digest::ZERO)), trace.root);
            if n > 1 {
                assert_ne!(
                    bent(&|p| p.siblings.truncate(p.siblings.len() - 1)),
                    trace.root
                );
                assert_ne!(bent(&|p| p.siblings[0].0[31] ^= 128), trace.root);
            }
        }
        assert_eq!(StepProof::of(&trace, n as usize), None);
    }
}

#[test]
fn files_are_hostile() {
    let json = StepProof::of(&trace(7), 3).unwrap().to_json();
    let with = |from: &str, to: &str| {
        assert!(json.contains(from), "{from}");
        StepProof::parse(json.replace(from, to).as_bytes())
    };
    assert!(matches!(
        with("\"iterations\": 7", "\"iterations\": 3"),
        Err(ProofError::Index { got: 3, count: 3 })
    ));
    for count in ["0", "18446744073709551615"] {
        let bent = with("\"iterations\": 7", &format!("\"iterations\": {count}"));
        assert!(matches!(bent, Err(ProofError::Count { .. })), "{count}");
    }
    assert!(matches!(
        with("\"version\": 1", "\"version\": 2"),
        Err(ProofError::Version { got: 2, .. })
    ));
    assert!(matches!(
        with("assay-llama2", "other"),
        Err(ProofError::Format { .. })
    ));
    assert!(matches!(
        with("\"token\"", "\"extra\": 1, \"token\""),
        Err(ProofError::Json(_))
    ));
    for end in 0..json.len() {
        assert!(StepProof::parse(&json.as_bytes()[..end]).is_err());
    }
    let large = vec![b' '; MAX_PROOF_BYTES + 1];
    assert!(matches!(
        StepProof::parse(&large),
        Err(ProofError::TooLarge { .. })
    ));
    // A count of the same shape leads to the same root: a root alone does not bind it, which docs/llama2-rs.md says.
    assert!(
        with("\"iterations\": 7", "\"iterations\": 8")
            .unwrap()
            .root()
            .is_some()
    );
}

#[test]
fn an_entry_that_lies_about_its_position_has_no_proof() {
    let mut trace = trace(4);
    trace.entries[2].position = 1;
    assert_eq!(StepProof::of(&trace, 2), None);
}
