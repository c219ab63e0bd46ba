"""What every stage needs: files, errors, validation, provenance, devices."""
