"""Raw data to training samples: fetch, verify, split, prepare, the prepared store, sampling, augmentation, phantoms."""
