//! Every size and count of the agent, with its cost in RAM.
