//! Work side by side on one thread: each goes on whenever another waits.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// Runs all to their ends, and gives what came of each, in order.
pub(crate) async fn all<T>(mut work: Vec<Pin<Box<dyn Future<Output = T> + '_>>>) -> Vec<T> {
    let mut done: Vec<Option<T>> = work.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (work, done) in work.iter_mut().zip(&mut done) {
            if done.is_none()
                && let Poll::Ready(value) = work.as_mut().poll(cx)
            {
                *done = Some(value);
            }
        }
        match done.iter().all(Option::is_some) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Waits once after each of its steps, and says when it takes one.
    async fn steps(name: char, n: usize, said: &RefCell<String>) -> char {
        for _ in 0..n {
            said.borrow_mut().push(name);
            let mut waited = false;
            poll_fn(|cx| {
                cx.waker().wake_by_ref();
                match std::mem::replace(&mut waited, true) {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            })
            .await;
        }
        name
    }

    #[test]
    fn each_goes_on_while_another_waits() {
        let said = RefCell::default();
        let work: Vec<Pin<Box<dyn Future<Output = char>>>> = vec![
            Box::pin(steps('a', 3, &said)),
            Box::pin(steps('b', 1, &said)),
            Box::pin(steps('c', 2, &said)),
        ];
        assert_eq!(pollster::block_on(all(work)), ['a', 'b', 'c']);
        assert_eq!(said.into_inner(), "abcaca");
        assert!(pollster::block_on(all::<u8>(Vec::new())).is_empty());
    }
}
