"""Two aligned images: is one a copy of the other, or a second photograph of the same thing?"""
