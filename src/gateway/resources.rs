//! What a gateway has opened, to be closed in the reverse order.
//!
//! Promises: the last one opened is closed first; one that does not close within its own limit is
//! named and left behind, the others are closed all the same.
//! Must not know: what the resources are.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;

type Close = Box<dyn FnOnce() -> LocalBoxFuture<'static, ()>>;

#[derive(Default)]
pub struct Resources {
    opened: Vec<Resource>,
}

struct Resource {
    name: &'static str,
    limit: Duration,
    close: Close,
}

impl Resources {
    /// To be called right after opening it.
    pub fn opened<F>(&mut self, name: &'static str, limit: Duration, close: impl FnOnce() -> F + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        self.opened.push(Resource { name, limit, close: Box::new(move || Box::pin(close())) });
    }

    /// Closes everything; the names of those that did not close in time.
    pub async fn close(self) -> Vec<&'static str> {
        let mut left_behind = vec![];
        for resource in self.opened.into_iter().rev() {
            let Resource { name, limit, close } = resource;
            if tokio::time::timeout(limit, close()).await.is_err() {
                tracing::warn!("cannot close {name} within {limit:?}, leaving it to the kernel");
                left_behind.push(name);
            }
        }
        left_behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[test]
    fn resources_close_in_reverse_order_and_one_that_hangs_does_not_hold_up_the_others() {
        let closed = Rc::new(RefCell::new(vec![]));
        let mut resources = Resources::default();
        for name in ["first", "second", "third"] {
            let closed = Rc::clone(&closed);
            resources.opened(name, Duration::from_millis(1), move || async move {
                if name == "second" {
                    std::future::pending::<()>().await;
                }
                closed.borrow_mut().push(name);
            });
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_eq!(runtime.block_on(resources.close()), ["second"]);
        assert_eq!(*closed.borrow(), ["third", "first"]);
    }
}
