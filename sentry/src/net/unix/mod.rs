//! AF_UNIX (unix(7)).

use super::socket::Socket;
use crate::task::Cx;
use arch::{Errno, Result};
use std::sync::Arc;

/// Makes an unconnected socket.
pub fn create(_cx: &Cx, _kind: i32, _protocol: i32) -> Result<Arc<dyn Socket>> {
    Err(Errno::ESOCKTNOSUPPORT)
}
