//! Typed addresses in an application's memory.

use std::marker::PhantomData;

/// An address that an application named. It may point anywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UserAddr(pub u64);

impl UserAddr {
    /// The null pointer.
    pub const NULL: Self = Self(0);

    /// Whether it is the null pointer.
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The address `offset` bytes on; wraps like the application's own arithmetic would (and then faults).
    #[must_use]
    pub const fn add(self, offset: u64) -> Self {
        Self(self.0.wrapping_add(offset))
    }
}

impl std::fmt::Debug for UserAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A pointer to a `T` in application memory.
pub struct UserRef<T>(pub UserAddr, PhantomData<fn() -> T>);

impl<T> UserRef<T> {
    /// A pointer to a `T` at `addr`.
    pub const fn new(addr: UserAddr) -> Self {
        Self(addr, PhantomData)
    }

    /// The address.
    pub const fn addr(self) -> UserAddr {
        self.0
    }

    /// Whether it is the null pointer.
    pub const fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// The pointer, unless it is null.
    pub fn non_null(self) -> Option<Self> {
        (!self.is_null()).then_some(self)
    }

    /// The `n`th element of an array that starts here.
    #[must_use]
    pub const fn index(self, n: u64) -> Self {
        Self::new(self.0.add(n.wrapping_mul(size_of::<T>() as u64)))
    }

    /// The same address as a pointer to something else.
    pub const fn cast<U>(self) -> UserRef<U> {
        UserRef::new(self.0)
    }
}

impl<T> Clone for UserRef<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for UserRef<T> {}
impl<T> std::fmt::Debug for UserRef<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A pointer to a NUL-terminated string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserStr(pub UserAddr);

impl UserStr {
    /// Whether it is the null pointer.
    pub const fn is_null(self) -> bool {
        self.0.is_null()
    }
}

/// A range of application memory, as an iovec names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserBytes {
    /// Where it starts.
    pub addr: UserAddr,
    /// How many bytes.
    pub len: usize,
}
