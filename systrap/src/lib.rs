//! systrap
