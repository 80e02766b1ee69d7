"""Words: keys, resources, metadata, selectors, owners, patches, deltas. Values only; nothing here waits."""
