"""The parts of Segment Anything, from which its ten descendants in MoE-SAM's tables are put together.

`sizes` of all parts · `image_encoder` · `adapters` and `lora`, what is added to its blocks · `fusion`, what is made of
its layers · `prompt_encoder` · `mask_decoder` · `network`, the three together · `prompted`, what a network asked by
points is to the rest of the program · `released`, published weights. What one network alone has: `feb` and `lpeg`
(MoE-SAM), `hierarchical` (H-SAM), `decoupled` (DeSAM), `side_branch` (SAMUS), `prompt_network` (AutoSAM).
"""
