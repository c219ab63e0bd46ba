"""Mathematics: word problems with worked solutions (MetaMathQA)."""
