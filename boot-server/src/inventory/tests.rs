//! Tests of the inventory.
