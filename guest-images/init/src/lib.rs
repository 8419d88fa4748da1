//! What a guest's first process and those who start guests must agree on: the words of the kernel
//! command line.

pub mod cmdline;
