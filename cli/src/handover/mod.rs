//! What is handed over at a start: descriptors to the caller's sockets, the caller's sockets to the
//! container, and the container's word that it is ready to whoever supervises us.

pub(crate) mod activation;
pub(crate) mod notify;
pub(crate) mod socket;
