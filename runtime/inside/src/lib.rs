#![no_std]
//! inside
